"""A model held by several processes computes what it does in one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import liquid_mlx
from tests.distributed.launch import LIQUID, ended, liquid, ring, started
from tests.distributed.worker import results

EIGHT = {"quantize": True, "q_bits": 8, "q_group_size": 32}
# What each kind of model has that splitting minds: tied or own heads, key-value heads, windows,
# biases, quantization. Processes that share a core exchange slowly: of most only logits are asked.
SPLIT: list[tuple[str, dict[str, Any], str]] = [
    ("gemma_tiny", {}, "all"),
    ("gemma2_tiny", EIGHT, "logits"),
    ("gemma_untied_mqa", {}, "logits"),
    ("llama_tiny", {"quantize": True, "q_bits": 4, "q_group_size": 32}, "logits"),
    ("gemma_tiny", {"quantize": True, "q_mode": "mxfp4"}, "logits"),
    ("qwen2_tiny", {}, "logits"),
]
LAYERS: list[tuple[str, dict[str, Any], str]] = [
    ("gemma_tiny", {}, "all"),
    ("gemma2_tiny", EIGHT, "logits"),
    ("gemma_untied_mqa", EIGHT, "logits"),
    ("qwen2_tiny", {}, "logits"),
]


class Task(NamedTuple):
    model: Path
    layers: str
    what: str


def compare(
    size: int, tasks: list[Task], folder: Path, refused: dict[Task, str] | None = None
) -> list[list[dict[str, Any]]]:
    """For each rank what its worker says of each task; every rank's is that of one process.

    Those of ``refused`` must fail, with these words.
    """
    refused = refused or {}
    every = [*tasks, *refused]
    arguments = [text for task in every for text in map(str, task)]
    command = [sys.executable, "-m", "tests.distributed.worker", *arguments]
    ranks = ring(size, command, folder, seconds=1200)
    assert [rank.code for rank in ranks] == [0] * size, [rank.err[-2000:] for rank in ranks]
    found: list[list[dict[str, Any]]] = [json.loads(rank.out) for rank in ranks]
    for i, task in enumerate(tasks):
        whole = results(liquid_mlx.load(task.model, dtype="float32"), task.what)
        for rank in found:
            assert "error" not in rank[i], rank[i]
            np.testing.assert_allclose(rank[i]["logits"], whole["logits"], atol=2e-4)
            for name in ("codes", "text", "answer"):
                assert rank[i].get(name) == whole.get(name), (task, name)
    for rank in found:
        for (task, said), one in zip(refused.items(), rank[len(tasks) :], strict=True):
            assert said in one.get("error", ""), (task, one)
    return found


def test_two_ranks_with_a_part_of_every_layer(
    converted: Callable[..., Path], tmp_path: Path
) -> None:
    tasks = [Task(converted(case, **form), "-", what) for case, form, what in SPLIT]
    found = compare(2, tasks, tmp_path)
    for task, *ranks in zip(tasks, *found, strict=True):
        config = liquid_mlx.load(task.model).config
        rows, columns = config.grid(config.sizes[0])
        steps = rows * columns - 1 + 2  # each code but the last is read, and so are two prompts
        drawn = rows * columns  # ids that rank 0 tells
        size = sum(f.stat().st_size for f in task.model.glob("model*.safetensors"))
        for rank in ranks:
            assert rank["bytes"] < 0.8 * size  # half, and all of norms and codes: half of the ids
            if task.what == "all":
                assert rank["sums"] == (2 * rank["layers"] + 1) * steps + drawn


def test_two_ranks_with_some_of_the_layers(converted: Callable[..., Path], tmp_path: Path) -> None:
    tasks = [
        Task(converted(case, **form), "1,3" if case == "gemma2_tiny" else "2,1", what)
        for case, form, what in LAYERS
    ]
    found = compare(2, tasks, tmp_path)
    assert [rank[0]["layers"] for rank in found] == [2, 1]


@pytest.mark.slow
def test_four_ranks(converted: Callable[..., Path], tmp_path: Path) -> None:
    models = [converted("gemma_tiny"), converted("gemma_untied_mqa"), converted("gemma2_tiny")]
    tasks = [Task(model, "-", "logits") for model in models]
    compare(4, [*tasks, Task(models[2], "1,1,1,1", "logits")], tmp_path)


def test_commands_with_one_model_speak_and_write_once(
    converted: Callable[..., Path], tmp_path: Path
) -> None:
    model = converted("gemma_tiny")
    draw = ["generate", "-p", "a red circle", "--seed", 3, "--guidance", 1, "--model", model]
    (alone,) = liquid(1, *draw, "-o", "alone.png", folder=tmp_path)
    first, second = liquid(2, *draw, "-o", "both.png", "--tensor-parallel", folder=tmp_path)
    assert (first.code, second.code, alone.code) == (0, 0, 0), (first, second)
    assert (first.out, second.out, second.err) == ("both.png\n", "", "")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "alone.png").read_bytes()

    talk = [*LIQUID, "chat", "--model", model, "-m", "3", "--pipeline-parallel", "auto"]
    lines = "hello\n/save talk.json\n"
    with started([talk] * 2, tmp_path, lines=lines) as processes:
        first, second = ended(processes)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert (second.out, second.err) == ("", "")
    whole = liquid_mlx.load(model, dtype="float32")
    said = whole.chat([{"role": "user", "content": "hello"}], max_tokens=3)
    (_, reply) = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert reply["content"] == said
