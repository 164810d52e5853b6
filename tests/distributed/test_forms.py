"""Every golden case in every form of weights: held by two and four processes as by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liquid_mlx.convert import convert
from liquid_mlx.files import read_json
from tests.conftest import CASES
from tests.convert.conftest import VQGAN, write_checkpoint
from tests.distributed.test_models import Task, compare

pytestmark = pytest.mark.slow  # processes that share a core exchange slowly

SMALL = {"q_group_size": 32}
FORMS: dict[str, dict[str, Any]] = {
    **{f"{bits} bits": {"q_bits": bits, **SMALL} for bits in (2, 3, 4, 5, 6, 8)},
    **{mode: {"q_mode": mode} for mode in ("mxfp4", "mxfp8", "nvfp4")},
    **{
        name: {"quant_predicate": name, **SMALL}
        for name in ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
    },
    "embedding kept": {"embed_bits": 16, **SMALL},
}
# Of the golden cases only layers and heads this wide hold groups of 64 and 128.
WIDE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "head_dim": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
}
FAMILIES = ("gemma_tiny", "gemma2_tiny", "llama_tiny", "qwen2_tiny")
REFUSED = "whole quantization groups"


def tasks_of(model: Path, size: int, what: str) -> list[Task]:
    """Both ways of splitting over ``size`` processes, as far as there are layers for them."""
    layers = read_json(model / "config.json")["num_hidden_layers"]
    shares = ",".join(["1"] * (size - 1) + [str(layers - size + 1)])
    return [Task(model, "-", what), *([Task(model, shares, what)] if layers >= size else [])]


def splits(model: Path, size: int, unit: int) -> bool:
    """Whether a process's heads are whole groups of quantized weights."""
    config = read_json(model / "config.json")
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return heads * width // size % unit == 0


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_golden_cases_in_full_precision(
    case: str, size: int, converted: Callable[..., Path], tmp_path: Path
) -> None:
    compare(size, tasks_of(converted(case), size, "all" if size == 2 else "codes"), tmp_path)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_golden_cases_in_every_form(
    case: str, size: int, converted: Callable[..., Path], tmp_path: Path
) -> None:
    tasks, refused = [], []
    for form in FORMS.values():
        model = converted(case, quantize=True, sizes=("48x32",), **form)
        tensor, *pipeline = tasks_of(model, size, "codes")
        unit = read_json(model / "config.json")["quantization"]["group_size"]
        (tasks if splits(model, size, unit) else refused).append(tensor)
        tasks += pipeline
    compare(size, tasks, tmp_path, refused=dict.fromkeys(refused, REFUSED))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", FAMILIES)
def test_wide_groups_of_every_family(case: str, size: int, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", case, **WIDE)
    tasks = []
    for bits in (3, 4, 8):
        for group in (64, 128):
            model = tmp_path / f"{bits}-{group}"
            form = {"quantize": True, "q_bits": bits, "q_group_size": group}
            convert(checkpoint, model, vqgan=VQGAN, sizes=("48x32",), **form)
            tasks += tasks_of(model, size, "codes")
    compare(size, tasks, tmp_path)
