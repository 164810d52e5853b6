"""Work shared by several processes: the same results as one's, in the same order, and resumed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.distributed.launch import LIQUID, Ended, ended, liquid, started

# A dozen groups of processes, each of which loads MLX and waits with a core at full load.
pytestmark = pytest.mark.slow

PROMPTS = [f"a red circle number {i}" for i in range(7)]


@pytest.fixture
def model(converted: Callable[..., Path]) -> Path:
    return converted("llama_tiny")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with prompts, photos, and questions about them, one of which has no picture."""
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.new("RGB", (40, 30), (60 * i, 200, 90)).save(tmp_path / "photos" / f"{i}.png")
    questions = [
        {"question_id": f"q{i}", "image": f"photos/{i // 3}.png", "text": f"what is {i}?"}
        for i in range(15)  # the last three are about photos/4.png, which is not there
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (tmp_path / "questions.jsonl").write_text(lines)
    return tmp_path


def generate(size: int, model: Path, folder: Path, output: str, *more: object) -> list[Ended]:
    arguments = ["--prompt-file", "prompts.txt", "--model", model, "--seed", 5, "--no-metadata"]
    return liquid(
        size, "generate", *arguments, "-o", f"{output}/{{index}}.png", *more, folder=folder
    )


def test_images_are_the_same_for_any_number_of_processes(model: Path, inputs: Path) -> None:
    seen = []
    for size in (1, 2, 3):
        ranks = generate(size, model, inputs, f"out{size}", "--json")
        assert [rank.code for rank in ranks] == [0] * size, ranks
        assert all(not rank.out and not rank.err for rank in ranks[1:])
        rows = [json.loads(line) for line in ranks[0].out.splitlines()]
        for row in rows:
            row["path"] = Path(row["path"]).name
            del row["seconds"], row["tokens_per_second"]
        files = sorted((inputs / f"out{size}").iterdir())
        seen.append((rows, [(file.name, file.read_bytes()) for file in files]))
    assert [row["prompt"] for row in seen[0][0]] == PROMPTS
    assert len(seen[0][1]) == len(PROMPTS)
    assert seen[0] == seen[1] == seen[2]


def test_images_that_are_there_are_kept_and_the_others_drawn(model: Path, inputs: Path) -> None:
    generate(1, model, inputs, "whole")
    generate(1, model, inputs, "some")
    some = inputs / "some"
    before = (some / "2.png").stat().st_mtime_ns
    for i in (1, 4, 7):
        (some / f"{i}.png").unlink()
    refused = generate(2, model, inputs, "some")
    assert [rank.code for rank in refused] == [1, 1]
    assert "exists already" in refused[0].err
    assert "Traceback" not in refused[0].err + refused[1].err
    resumed = generate(2, model, inputs, "some", "--skip-existing")
    assert resumed[0].out.split() == [f"some/{i}.png" for i in (1, 4, 7)], resumed
    assert (some / "2.png").stat().st_mtime_ns == before
    for file in (inputs / "whole").iterdir():
        assert (some / file.name).read_bytes() == file.read_bytes()


def ask(folder: Path, model: Path, answers: str) -> list[object]:
    questions = ["--questions", "questions.jsonl", "--answers", answers]
    return ["ask", *questions, "--model", model, "-m", 24]


def test_answers_are_the_same_for_any_number_of_processes(model: Path, inputs: Path) -> None:
    for size in (1, 2, 3):
        ranks = liquid(size, *ask(inputs, model, f"{size}.jsonl"), folder=inputs)
        assert [rank.code for rank in ranks] == [3] + [0] * (size - 1), ranks
        assert sum(rank.err.count("photos/4.png") for rank in ranks) == 3
        assert "12 of 15 questions answered" in ranks[0].err
    texts = [(inputs / f"{size}.jsonl").read_bytes() for size in (1, 2, 3)]
    assert texts[0] == texts[1] == texts[2]
    rows = [json.loads(line) for line in texts[0].splitlines()]
    assert [row["question_id"] for row in rows] == [f"q{i}" for i in range(12)]
    assert sorted(file.name for file in inputs.glob("*.jsonl*")) == [
        *("1.jsonl", "2.jsonl", "3.jsonl"),
        "questions.jsonl",
    ]


def test_what_a_killed_run_answered_is_taken_up_by_another_number_of_processes(
    model: Path, inputs: Path
) -> None:
    liquid(1, *ask(inputs, model, "whole.jsonl"), folder=inputs)
    whole = (inputs / "whole.jsonl").read_bytes()
    with started([[*LIQUID, *ask(inputs, model, "killed.jsonl")]] * 2, inputs) as processes:
        end = time.monotonic() + 60
        while not any(f.stat().st_size for f in inputs.glob("killed.jsonl.rank-1")):
            assert time.monotonic() < end
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGKILL)
        found = ended(processes)
    assert found[1].code == -9
    assert found[0].code == 1
    assert "ended" in found[0].err
    kept = b"".join(f.read_bytes() for f in inputs.glob("killed.jsonl*"))
    for size in (3, 1):  # a last line that was cut short is answered again
        (inputs / "killed.jsonl.rank-7").write_bytes(kept[:-5])
        liquid(size, *ask(inputs, model, "killed.jsonl"), folder=inputs)
        assert (inputs / "killed.jsonl").read_bytes() == whole
        assert not list(inputs.glob("killed.jsonl.rank-*"))


def test_captions_and_codes_of_a_folder_are_the_same_for_any_number_of_processes(
    model: Path, inputs: Path
) -> None:
    seen = []
    for size in (1, 2, 3):
        told = liquid(
            *(size, "caption", "photos", "--model", model, "-m", 8, "--jsonl", "--txt"),
            folder=inputs,
        )
        coded = liquid(
            *(size, "encode", "photos", "--model", model, "-o", f"codes{size}"), folder=inputs
        )
        lined = liquid(
            *(size, "encode", "photos", "--model", model, "-o", f"{size}.jsonl"), folder=inputs
        )
        for ranks in (told, coded, lined):
            assert [rank.code for rank in ranks] == [0] * size, ranks
            assert not "".join(rank.out + rank.err for rank in ranks[1:])
        texts = [file.read_text() for file in sorted((inputs / "photos").glob("*.txt"))]
        files = sorted((inputs / f"codes{size}").iterdir())
        codes = [(file.name, file.read_bytes()) for file in files]
        seen.append((told[0].out, texts, codes, (inputs / f"{size}.jsonl").read_bytes()))
        for file in (inputs / "photos").glob("*.txt"):
            file.unlink()
    assert len(seen[0][1]) == len(seen[0][2]) == 4
    assert len(seen[0][0].splitlines()) == 4
    assert seen[0] == seen[1] == seen[2]


def test_questions_about_a_folder_are_answered_in_order(model: Path, inputs: Path) -> None:
    outputs = []
    for size in (1, 2, 3):
        ranks = liquid(
            *(size, "ask", "photos", "what?", "--model", model, "-m", 8, "--jsonl"), folder=inputs
        )
        assert [rank.code for rank in ranks] == [0] * size, ranks
        assert not "".join(rank.out + rank.err for rank in ranks[1:])
        outputs.append(ranks[0].out)
    assert len(outputs[0].splitlines()) == 4
    assert outputs[0] == outputs[1] == outputs[2]
