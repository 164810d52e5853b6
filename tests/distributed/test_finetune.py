"""Fine-tuning by several processes is that of one with the whole batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.files import read_header
from tests.distributed.launch import Ended, liquid


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight pictures, with captions of different lengths."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(8):
        Image.new("RGB", (32, 32), (30 * i, 50, 90)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a colour " * (1 + i % 3) + f"number {i}\n")
    return folder


def finetune(size: int, model: Path, pictures: Path, output: str, *more: object) -> list[Ended]:
    run = ["--iters", 5, "--batch-size", 4, "--lr", "1e-2", "--val-split", 0.25, "--eval-every", 2]
    return liquid(
        *(size, "finetune", pictures, "--model", model, "-o", output, *run, *more),
        folder=pictures.parent,
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    """A run's log, without what is different every time."""
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for row in found:
        for name in ("seconds", "tokens_per_second", "peak_memory"):
            row.pop(name, None)
    return found


def same_curve(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert [row.keys() for row in one] == [row.keys() for row in other]
    for row, twin in zip(one, other, strict=True):
        for name in row:
            np.testing.assert_allclose(row[name], twin[name], rtol=2e-4, err_msg=name)


def test_two_processes_have_the_loss_curve_of_one_with_the_whole_batch(
    converted: Callable[..., Path], pictures: Path
) -> None:
    model = converted("llama_tiny")
    (alone,) = finetune(1, model, pictures, "alone")
    first, second = finetune(2, model, pictures, "both")
    assert (alone.code, first.code, second.code) == (0, 0, 0), (alone, first, second)
    assert (first.out, second.out, second.err) == ("both\n", "", "")
    whole, shared = rows(pictures.parent / "alone"), rows(pictures.parent / "both")
    assert [row["step"] for row in whole if "loss" in row] == [1, 2, 3, 4, 5]
    same_curve(whole, shared)
    assert len({round(row["loss"], 3) for row in whole if "loss" in row}) > 3  # it does go down
    names = {file.name for file in (pictures.parent / "alone").iterdir()}
    assert {file.name for file in (pictures.parent / "both").iterdir()} == names
    header, _ = read_header(pictures.parent / "both" / "adapters.safetensors")
    assert header


@pytest.mark.slow
def test_a_run_of_two_goes_on_with_another_number_of_processes(
    converted: Callable[..., Path], pictures: Path
) -> None:
    model = converted("llama_tiny")
    (alone,) = finetune(1, model, pictures, "alone")
    assert alone.code == 0, alone
    # The learning rate follows from --iters: stopped on the way, not trained for fewer steps.
    for size, more in ((2, ["--save-every", 2]), (4, ["--resume"])):
        ranks = finetune(size, model, pictures, "some", *more)
        assert [rank.code for rank in ranks] == [0] * size, ranks
    same_curve(rows(pictures.parent / "alone"), rows(pictures.parent / "some"))


@pytest.mark.slow
def test_what_is_wrong_on_one_rank_is_said_once_and_nothing_is_trained(
    converted: Callable[..., Path], pictures: Path
) -> None:
    model = converted("llama_tiny")
    for more, part in (
        (["--batch-size", 3], "A batch of 3 cannot be shared by 2 machines"),
        (["--model", "nowhere"], "nowhere"),
    ):
        first, second = finetune(2, model, pictures, "wrong", *more)
        assert (first.code, second.code) == (1, 1), (first, second)
        assert part in first.err.splitlines()[-1]
        assert second.err == ""
        assert not (pictures.parent / "wrong" / "adapters.safetensors").exists()
