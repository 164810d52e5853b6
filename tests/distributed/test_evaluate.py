"""``liquid evaluate`` over several processes, killed at random: the same figures."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_vqa import read, write_questions
from tests.distributed.launch import LIQUID, ended, liquid, started

# Some thirty groups of processes, each of which loads MLX and waits with a core at full load.
pytestmark = pytest.mark.slow

KILLS = 10
QUESTIONS = 180
PROMPTS = [f"a red circle number {i}" for i in range(60)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with questions about 60 pictures, their answers, and prompts."""
    monkeypatch.chdir(tmp_path)
    questions = write_questions(Path("p"), QUESTIONS // 3, 3)
    notes = [{"question_id": q["question_id"], "answer": ["red", "two"]} for q in questions]
    Path("notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    Path("prompts.txt").write_text("\n".join(PROMPTS))
    return tmp_path


def killed(command: Sequence[object], folder: Path, done: Callable[[], int]) -> None:
    """Start a command ten times with one, two or three processes, and kill them.

    When: within the start, or a random while after something new is done.
    """
    rng, worked = random.Random(0), 0
    for number in range(KILLS):
        size, before = number % 3 + 1, done()
        with started([[*LIQUID, *command]] * size, folder) as processes:
            if number % 4 == 3:
                time.sleep(rng.uniform(0.1, 0.6))
            else:
                end = time.monotonic() + 120
                while done() <= before and time.monotonic() < end:
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.02))
            rng.shuffle(processes)
            for process in processes:  # mlx.launch ends the others, too
                process.send_signal(signal.SIGKILL)
            found = ended(processes)
            assert -signal.SIGKILL in [one.code for one in found], found
        worked += done() > before
    assert worked >= 6  # in the middle of the work


def figures(command: Sequence[object], size: int, folder: Path) -> Any:
    ranks = liquid(size, *command, "--json", folder=folder)
    assert [rank.code for rank in ranks] == [0] * size, ranks
    assert all(not rank.out and not rank.err for rank in ranks[1:])
    return json.loads(ranks[0].out)["scores"]


def test_questions_killed_and_resumed_have_the_same_figures(
    folder: Path, converted: Callable[..., Path]
) -> None:
    files = ["--questions", "questions.jsonl", "--images", "p", "--annotations", "notes.jsonl"]
    command = ["evaluate", "custom", *files, "--model", converted("llama_tiny"), "--max-tokens", 8]

    def done() -> int:
        lines = set()
        for file in folder.glob("killed.jsonl*"):
            with suppress(FileNotFoundError):  # put together with the others just now
                lines.update(file.read_bytes().splitlines())
        return len(lines)

    killed([*command, "--answers", "killed.jsonl"], folder, done)
    assert 0 < done() < QUESTIONS
    parts = list(folder.glob("killed.jsonl*"))
    whole = figures([*command, "--answers", "whole.jsonl"], 1, folder)
    rows = read("whole.jsonl")
    assert whole["all"]["samples"] == len(rows) == QUESTIONS
    for size in (1, 2, 3):
        for part in parts:
            shutil.copy(part, part.name.replace("killed", str(size)))
        assert figures([*command, "--answers", f"{size}.jsonl"], size, folder) == whole
        texts = [(row["question_id"], row["text"]) for row in read(f"{size}.jsonl")]
        assert sorted(texts) == [(row["question_id"], row["text"]) for row in rows]
    assert not list(folder.glob("[123].jsonl.rank-*"))


def test_pictures_killed_and_resumed_are_the_same_and_judged_alike(
    folder: Path, converted: Callable[..., Path]
) -> None:
    set_ = ["custom", "--prompts", "prompts.txt", "--each", 1, "--model", converted("llama_tiny")]

    def done() -> int:
        return len(list(folder.glob("killed/*.png")))

    def draw(name: str) -> list[object]:
        return ["evaluate", "draw", *set_, "--pictures", name, "--batch-size", 2]

    killed(draw("killed"), folder, done)
    assert 0 < done() < len(PROMPTS)
    for size in (1, 2, 3):
        shutil.copytree("killed", str(size))
        shutil.copy("killed.settings.json", f"{size}.settings.json")
    judge = ["evaluate", "judge", *set_, "--pictures"]
    for name, size in (("whole", 1), ("1", 1), ("2", 2), ("3", 3)):
        ranks = liquid(size, *draw(name), folder=folder)
        assert [rank.code for rank in ranks] == [0] * size, ranks
        assert f"{len(PROMPTS)} of {len(PROMPTS)} prompts drawn" in ranks[0].err
        assert all(not rank.out and not rank.err for rank in ranks[1:])
        judged = figures([*judge, name], size, folder)["all"]
        if name == "whole":
            whole = judged
        files = sorted(path.name for path in Path(name).iterdir())
        assert files == sorted(path.name for path in Path("whole").iterdir())
        assert len(files) == len(PROMPTS)
        for file in files:
            pixels = [np.asarray(Image.open(Path(one) / file), int) for one in ("whole", name)]
            assert np.abs(pixels[0] - pixels[1]).max() <= 1
        assert judged == {key: pytest.approx(value, rel=1e-3) for key, value in whole.items()}


def test_what_is_wrong_on_one_rank_is_said_once(
    folder: Path, converted: Callable[..., Path]
) -> None:
    set_ = ["custom", "--prompts", "missing.txt", "--model", converted("llama_tiny")]
    ranks = liquid(2, "evaluate", "draw", *set_, "--pictures", "out", folder=folder)
    assert [rank.code for rank in ranks] == [1, 1]
    assert ranks[0].err.count("missing.txt") == 1
    assert not ranks[1].err
    assert not (folder / "out").exists()
