"""Every quantization: the same logits here and in mlx-lm, and mlx-lm's own form of config.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert import convert
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.weights import load_backbone

FORMS: dict[str, dict[str, Any]] = {
    **{
        f"affine {bits} {size}": {"q_bits": bits, "q_group_size": size}
        for bits in (2, 3, 4, 5, 6, 8)
        for size in (32, 64, 128)
    },
    **{mode: {"q_mode": mode} for mode in ("mxfp4", "mxfp8", "nvfp4")},
    **{name: {"quant_predicate": name} for name in ("mixed_2_6", "mixed_3_4", "mixed_3_6")},
    "mixed_4_6 32": {"quant_predicate": "mixed_4_6", "q_group_size": 32},
    "embedding kept": {"embed_bits": 16},
}
TOKENS = [509, 507, 600, 700, 1000, 3, 44]


def our_logits(folder: Path) -> mx.array:
    config = LiquidConfig.read(folder)
    backbone = load_backbone(folder, config, "float32")
    cache = KVCache.empty(config.backbone, 1, len(TOKENS), mx.float32)
    return backbone.head()(backbone(mx.array([TOKENS]), cache))[0]


def their_logits(folder: Path) -> mx.array:
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    return model(mx.array([TOKENS]))[0].astype(mx.float32)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS.keys())
def test_both_libraries_compute_the_same(
    wide: Callable[[str], Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    convert(wide("llama_tiny"), tmp_path / "out", quantize=True, verify_result=False, **options)
    ours, theirs = our_logits(tmp_path / "out"), their_logits(tmp_path / "out")
    assert mx.abs(ours - theirs).max().item() < 1e-3


@pytest.mark.parametrize("case", ["gemma2_tiny", "qwen2_tiny"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_other_backbones_and_dtypes(
    wide: Callable[[str], Path], tmp_path: Path, case: str, dtype: str
) -> None:
    convert(wide(case), tmp_path / "out", quantize=True, dtype=dtype, verify_result=False)
    ours, theirs = our_logits(tmp_path / "out"), their_logits(tmp_path / "out")
    tolerance = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 2e-1}[dtype]  # theirs compute in it
    assert mx.abs(ours - theirs).max().item() < tolerance * max(1, mx.abs(ours).max().item())


def by_mlx_lm(folder: Path, out: Path, **options: Any) -> dict[str, Any]:
    from mlx_lm.convert import convert as mlx_lm_convert

    mlx_lm_convert(str(folder), str(out), quantize=True, **options)
    return json.loads((out / "config.json").read_text())


@pytest.mark.parametrize(
    "options",
    [
        {"q_bits": 4, "q_group_size": 64},
        {"q_bits": 3, "q_group_size": 32},
        {"q_mode": "mxfp4"},
        {"q_mode": "nvfp4"},
        {"q_mode": "mxfp8"},
        {"quant_predicate": "mixed_3_6", "q_group_size": 64},
    ],
    ids=str,
)
def test_layers_are_packed_as_mlx_lm_packs_them(
    wide: Callable[[str], Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    convert(wide("llama_tiny"), tmp_path / "plain", verify_result=False)
    convert(wide("llama_tiny"), tmp_path / "ours", quantize=True, **options)
    theirs_config = by_mlx_lm(tmp_path / "plain", tmp_path / "theirs", **options)
    ours_config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert ours_config["quantization_config"] == ours_config["quantization"]
    section, other = ours_config["quantization"], theirs_config["quantization"]
    default = {key: section[key] for key in ("group_size", "bits", "mode")}
    assert section.pop("model.embed_tokens") == {
        "group_size": options.get("q_group_size", 64),
        "bits": 8,
        "mode": "affine",
    }
    if "quant_predicate" in options:  # mlx-lm names every layer, here only those that differ
        default = {"group_size": 64, "bits": 3, "mode": "affine"}
        layers = {path: form for path, form in other.items() if path.startswith("model.layers")}
        assert {path: section.get(path, default) for path in layers} == layers
    else:
        assert section == other
    ours = mx.load(str(tmp_path / "ours" / "model.safetensors"))
    theirs = mx.load(str(tmp_path / "theirs" / "model.safetensors"))
    assert ours.keys() >= {name for name in theirs if "embed" not in name}
    for name, array in theirs.items():
        if "embed" not in name:
            assert array.dtype == ours[name].dtype, name
            assert mx.array_equal(array, ours[name]), name


def test_gemma_with_its_own_gelu(wide: Callable[[str], Path], tmp_path: Path) -> None:
    """mlx-lm's Gemma opens it too; its exact GELU is what the plan warns of."""
    done = convert(wide("gemma_tiny"), tmp_path / "out", quantize=True)
    assert any("GELU" in note for note in done.plan.notes)
    difference = mx.abs(our_logits(tmp_path / "out") - their_logits(tmp_path / "out")).max().item()
    assert 0 < difference < 0.05


def test_what_is_kept_is_said_and_opens(tmp_path: Path, checkpoint: Path) -> None:
    done = convert(checkpoint, tmp_path / "out", quantize=True)  # down_proj is 160 wide
    section = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    assert section["model.layers.0.mlp.down_proj"] is False
    assert any("3 matrices are kept" in note for note in done.plan.notes)
    assert mx.abs(our_logits(tmp_path / "out") - their_logits(tmp_path / "out")).max() < 1e-3


def test_more_bits_err_less(wide: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for bits in (2, 3, 4, 5, 6, 8):
        done = convert(wide("llama_tiny"), tmp_path / str(bits), quantize=True, q_bits=bits)
        assert done.verification is not None
        found.append(done.verification)
    for kind in ("attention", "MLP"):
        errors = [one.errors[kind] for one in found]
        assert errors == sorted(errors, reverse=True)
        assert np.all(np.array(errors[:-1]) / np.array(errors[1:]) > 1.5)
    assert found[-1].cosine > 0.999
    assert all(one.errors["image rows"] < 0.01 for one in found)


def test_the_comparison_notices_other_weights(
    wide: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liquid_mlx.convert.planning.tensor import Part
    from liquid_mlx.errors import CheckpointError

    pack = Part.pack
    monkeypatch.setattr(Part, "pack", lambda part, rows: pack(part, rows[::-1]))
    with pytest.raises(CheckpointError, match="differs from its source"):
        convert(wide("llama_tiny"), tmp_path / "out", quantize=True)
    assert not (tmp_path / "out").exists()
