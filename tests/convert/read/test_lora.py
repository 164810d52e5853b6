"""LoRA adapters in PEFT's layout, against the formula W + alpha / r * B A."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.convert import convert
from liquid_mlx.convert.read.files import open_weights
from liquid_mlx.convert.read.lora import Merged, merge
from liquid_mlx.convert.read.tensor import Declared
from liquid_mlx.errors import CheckpointError

PREFIX = "base_model.model."
QUERY = "model.layers.1.self_attn.q_proj"
TABLE = "model.embed_tokens"


def noise(*shape: int) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(shape[0]))


def write_adapter(folder: Path, tensors: dict[str, mx.array], **config: Any) -> Path:
    folder.mkdir()
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors)
    return folder


A, B = noise(4, 64), noise(64, 4)
PAIR = {f"{PREFIX}{QUERY}.lora_A.weight": A, f"{PREFIX}{QUERY}.lora_B.weight": B}


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"q_proj": 12}}, 3.0),
        ({"alpha_pattern": {"k_proj": 12}}, 2.0),
    ],
)
def test_a_linear_layer(
    checkpoint: Path, tmp_path: Path, config: dict[str, Any], scale: float
) -> None:
    adapter = write_adapter(tmp_path / "lora", PAIR, **config)
    done = convert(checkpoint, tmp_path / "out", adapter=adapter)
    before, after = open_weights(checkpoint), open_weights(tmp_path / "out")
    expected = before[f"{QUERY}.weight"].rows(0, 64) + scale * (B @ A)
    found = after[f"{QUERY}.weight"].rows(0, 64)
    assert mx.abs(found - expected).max().item() < 1e-5
    assert done.plan.config.source["adapter"] == "lora"
    for name in before:
        if name != f"{QUERY}.weight":
            shape = before[name].shape
            assert mx.array_equal(before[name].rows(0, shape[0]), after[name].rows(0, shape[0]))


def test_an_embedding_and_whole_tensors(checkpoint: Path, tmp_path: Path) -> None:
    a, b = noise(4, 1024), noise(64, 4)
    norm = noise(64)
    adapter = write_adapter(
        tmp_path / "lora",
        {
            f"{PREFIX}{TABLE}.lora_embedding_A": a,
            f"{PREFIX}{TABLE}.lora_embedding_B": b,
            f"{PREFIX}model.norm.weight": norm,
        },
    )
    convert(checkpoint, tmp_path / "out", adapter=adapter)
    before, after = open_weights(checkpoint), open_weights(tmp_path / "out")
    expected = before[f"{TABLE}.weight"].rows(0, 1024) + 2 * (b @ a).T
    assert mx.abs(after[f"{TABLE}.weight"].rows(0, 1024) - expected).max().item() < 1e-4
    assert mx.array_equal(after["model.norm.weight"].rows(0, 64), norm)


def test_it_is_merged_before_quantizing(checkpoint: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora", PAIR)
    convert(checkpoint, tmp_path / "merged", adapter=adapter)
    convert(tmp_path / "merged", tmp_path / "two steps", quantize=True)
    convert(checkpoint, tmp_path / "one step", adapter=adapter, quantize=True)
    one, two = (tmp_path / f / "model.safetensors" for f in ("one step", "two steps"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        (PAIR, {"peft_type": "IA3"}, "only LoRA"),
        (PAIR, {"use_dora": True}, "only LoRA"),
        (PAIR, {"lora_alpha": None}, "lora_alpha"),
        (PAIR, {"lora_alpha": True}, "lora_alpha"),
        (PAIR, {"lora_alpha": "8"}, "lora_alpha"),
        (PAIR, {"lora_alpha": 1e7}, "lora_alpha"),
        (PAIR, {"lora_alpha": 10**400}, "lora_alpha"),
        (PAIR, {"lora_alpha": float("inf")}, "finite"),
        (PAIR, {"lora_alpha": float("nan")}, "finite"),
        (PAIR, {"alpha_pattern": "x"}, "alpha_pattern"),
        (PAIR, {"alpha_pattern": [1]}, "alpha_pattern"),
        (PAIR, {"alpha_pattern": {"q_proj": "x"}}, "lora_alpha"),
        (PAIR, {"alpha_pattern": {"q_proj": -1e9}}, "lora_alpha"),
        ({f"{PREFIX}{QUERY}.lora_A.weight": A}, {}, "no partner"),
        ({f"{PREFIX}{QUERY}.lora_B.weight": B}, {}, "cannot take"),
        ({**PAIR, f"{PREFIX}{QUERY}.lora_B.weight": noise(32, 4)}, {}, "another shape"),
        ({**PAIR, f"{PREFIX}{QUERY}.lora_A.weight": noise(4, 32)}, {}, "another shape"),
        ({n.replace("q_proj", "w_proj"): t for n, t in PAIR.items()}, {}, "does not have"),
        ({**PAIR, "stranger": A}, {}, "stranger"),
        ({f"{PREFIX}model.norm.weight": noise(65)}, {}, "another shape"),
        ({**PAIR, f"{PREFIX}{QUERY}.lora_magnitude_vector": noise(64)}, {}, "magnitude"),
    ],
)
def test_adapters_that_do_not_fit(
    checkpoint: Path,
    tmp_path: Path,
    tensors: dict[str, mx.array],
    config: dict[str, Any],
    words: str,
) -> None:
    adapter = write_adapter(tmp_path / "lora", tensors, **config)
    with pytest.raises(CheckpointError, match=words):
        convert(checkpoint, tmp_path / "out", adapter=adapter)
    assert not (tmp_path / "out").exists()


def test_a_merged_weight_that_overflows_is_named(checkpoint: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora", PAIR, lora_alpha=1e6)
    with pytest.raises(CheckpointError, match=r"q_proj\.weight has values beyond .*float16"):
        convert(checkpoint, tmp_path / "out", adapter=adapter, dtype="float16")
    assert not (tmp_path / "out").exists()


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(
        ["lora_alpha", "alpha_pattern", "peft_type", "use_rslora", "use_dora", "fan_in_fan_out"]
    ),
    value=VALUE | st.dictionaries(st.sampled_from(["q_proj", "self_attn.q_proj", "("]), VALUE),
)
def test_any_config_of_an_adapter_gives_finite_weights_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "lora"
    if not folder.exists():
        write_adapter(folder, PAIR)
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, name: value}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    base = Declared((64, 64), "float32")
    try:
        (found,) = merge({f"{QUERY}.weight": base}, folder).values()
    except CheckpointError as error:
        message = str(error)
    else:
        message = ""
        assert isinstance(found, Merged)
        assert abs(found.scale) <= 1e6
    assert len(message) < 600
