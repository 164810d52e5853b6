"""Adapters with gigantic factors: a weight that is not finite is told, and never written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liquid_mlx import CheckpointError, load
from liquid_mlx.files import read_json
from liquid_mlx.tuner.fuse import fuse

MODULE = "model.layers.0.mlp.gate_proj"
FAR = st.floats(-45, 38.5)  # powers of ten: beyond the ends of float32, and so of float16


def write(folder: Path, base: Path, a: float, b: float, kind: str) -> Path:
    """An adapter whose factors are all 10**a and 10**b."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = read_json(base / "config.json")
    inputs, outputs = config["hidden_size"], config["intermediate_size"]
    one, two = mx.array(10.0**a), mx.array(10.0**b)  # 10**38.4 is still a float32
    tensors = {
        f"{MODULE}.lora_a": mx.broadcast_to(one, (inputs, 2)),
        f"{MODULE}.lora_b": mx.broadcast_to(two, (2, outputs)),
    }
    if kind == "dora":
        tensors[f"{MODULE}.m"] = mx.broadcast_to(two, (outputs,))
    elif kind == "full":
        tensors = {"model.norm.weight": mx.broadcast_to(one, (inputs,))}
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    values = {"fine_tune_type": kind, "lora_parameters": {"rank": 2, "scale": 20.0}}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder


def finite(folder: Path) -> bool:
    tensors = mx.load(str(folder / "model.safetensors")).values()  # type: ignore[union-attr]
    return all(bool(mx.isfinite(t).all()) for t in tensors if mx.issubdtype(t.dtype, mx.floating))


@pytest.mark.parametrize(
    "stored",
    [
        {"dtype": "float16"},
        {"dtype": "float32"},
        {"quantize": True, "q_group_size": 32},
        {"quantize": True, "q_group_size": 32, "q_mode": "mxfp4"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=FAR, b=FAR, strength=st.floats(-100, 100), kind=st.sampled_from(["lora", "dora", "full"]))
def test_what_is_fused_is_finite_or_told(
    converted: Callable[..., Path],
    tmp_path: Path,
    stored: dict[str, object],
    a: float,
    b: float,
    strength: float,
    kind: str,
) -> None:
    base = converted("llama_tiny", **stored)
    adapter = write(tmp_path / "adapter", base, a, b, kind)
    shutil.rmtree(tmp_path / "fused", ignore_errors=True)
    told = ""
    try:
        fuse(base, f"{adapter}={strength}", tmp_path / "fused")
    except CheckpointError as error:
        told = str(error)
    assert ("finite" in told) == bool(told)
    assert finite(tmp_path / "fused") if not told else not (tmp_path / "fused").exists()


def test_factors_that_only_their_product_makes_infinite_are_told(
    converted: Callable[..., Path], tmp_path: Path
) -> None:
    base = converted("llama_tiny", dtype="float16")
    with pytest.raises(CheckpointError, match=r"gate_proj.* finite in float16"):
        fuse(base, write(tmp_path / "one", base, 4, 3, "lora"), tmp_path / "fused")


def test_an_adapter_that_overflows_leaves_a_loaded_model_as_it_was(
    converted: Callable[..., Path], tmp_path: Path
) -> None:
    base = converted("llama_tiny", dtype="float16")
    adapter = write(tmp_path / "adapter", base, 1, 30, "lora")
    liquid = load(base, dtype="float16")
    before = liquid.logits([1, 2])
    with pytest.raises(CheckpointError, match="finite in float16"):
        liquid.use_adapters(adapter)
    assert mx.array_equal(before, liquid.logits([1, 2]))
