"""Files of questions and answers: LLaVA's form, resumed after any interruption."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from liquid_mlx import load
from liquid_mlx.model import Liquid
from tests.cli.conftest import LIQUID, Run

WORDS = ["What colour is it?", "How many are there?", "What shape is it?", "Is it red?", "Why?"]


def write_questions(folder: Path, pictures: int, each: int) -> list[dict[str, Any]]:
    """``pictures * each`` questions about drawn pictures, in questions.jsonl."""
    draw = random.Random(0)
    folder.mkdir(exist_ok=True)
    questions = []
    for i in range(pictures):
        picture = Image.new("RGB", (64, 64), tuple(draw.randrange(256) for _ in range(3)))
        box = sorted(draw.randrange(64) for _ in range(4))
        colour = tuple(draw.randrange(256) for _ in range(3))
        ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2], box[3]), fill=colour)
        picture.save(folder / f"{i:03}.png")
        for j in range(each):
            text = f"{WORDS[j % len(WORDS)]} ({j})"
            questions.append({"question_id": i * each + j, "image": f"{i:03}.png", "text": text})
    lines = [json.dumps({**question, "category": "x"}) for question in questions]
    Path("questions.jsonl").write_text("\n".join(lines) + "\n")
    return questions


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def answers(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, str, str]]:
    return [(row["question_id"], row["prompt"], row["text"]) for row in rows]


def bulk(name: str, *more: str) -> list[str]:
    files = ["--questions", "questions.jsonl", "--image-folder", "p", "--answers", name]
    return ["ask", *files, "-m", "4", *more]


def test_answers_have_llava_s_form(run: Run, model: str) -> None:
    questions = write_questions(Path("p"), 2, 3)
    assert run(*bulk("new/answers.jsonl")).exit_code == 0
    rows = read("new/answers.jsonl")
    assert [(row["question_id"], row["prompt"]) for row in rows] == [
        (question["question_id"], question["text"]) for question in questions
    ]
    keys = {"question_id", "prompt", "text", "answer_id", "model_id", "metadata"}
    assert all(set(row) == keys for row in rows)
    assert {row["model_id"] for row in rows} == {Path(model).name}
    assert len({row["answer_id"] for row in rows}) == 6
    assert {json.dumps(row["metadata"]) for row in rows} == {"{}"}


def test_choices_in_bulk_keep_their_probabilities(run: Run) -> None:
    write_questions(Path("p"), 1, 2)
    run(*bulk("answers.jsonl", "--choices", "yes,no"))
    for row in read("answers.jsonl"):
        assert row["text"] in ("yes", "no")
        assert row["metadata"]["probability"] == row["metadata"]["choices"][row["text"]]


@pytest.mark.parametrize("cut", [0, 1, 20, 10_000])
def test_taken_up_again_it_asks_only_what_is_missing(cut: int, run: Run) -> None:
    write_questions(Path("p"), 3, 2)
    run(*bulk("whole.jsonl"))
    lines = Path("whole.jsonl").read_bytes().splitlines(keepends=True)
    Path("cut.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:cut])
    kept = 4 if cut > len(lines[3]) else 3
    done = run(*bulk("cut.jsonl"))
    assert done.exit_code == 0
    assert f"answers {kept} of 6 questions already" in done.stderr
    assert answers(read("cut.jsonl")) == answers(read("whole.jsonl"))
    assert Path("cut.jsonl").read_bytes().startswith(b"".join(lines[:3]))
    before = Path("cut.jsonl").read_bytes()
    assert run(*bulk("cut.jsonl")).exit_code == 0
    assert Path("cut.jsonl").read_bytes() == before


def test_sampled_answers_are_the_same_when_taken_up_again(run: Run) -> None:
    write_questions(Path("p"), 2, 2)
    flags = ["--temp", "1.5", "--seed", "4"]
    run(*bulk("whole.jsonl", *flags))
    first = Path("whole.jsonl").read_bytes().splitlines(keepends=True)[0]
    Path("cut.jsonl").write_bytes(first)
    run(*bulk("cut.jsonl", *flags))
    assert answers(read("cut.jsonl")) == answers(read("whole.jsonl"))


def test_answers_are_those_of_questions_asked_alone(run: Run, model: str) -> None:
    questions = write_questions(Path("p"), 2, 3)
    run(*bulk("answers.jsonl", "--temp", "1.5", "--seed", "4"))
    liquid = load(model)
    for i, (question, row) in enumerate(zip(questions, read("answers.jsonl"), strict=True)):
        picture, text = Path("p") / question["image"], question["text"]
        alone = liquid.answer(picture, text, max_tokens=4, temperature=1.5, seed=4 + i)
        assert row["text"] == alone.strip()


def test_gaps_in_a_file_are_filled_as_in_one_run(run: Run) -> None:
    write_questions(Path("p"), 2, 5)
    flags = ["--temp", "1.5", "--seed", "4"]
    run(*bulk("whole.jsonl", *flags))
    lines = Path("whole.jsonl").read_bytes().splitlines(keepends=True)
    Path("cut.jsonl").write_bytes(b"".join(lines[i] for i in (1, 3, 7)))
    Path("parts.jsonl.rank-1").write_bytes(b"".join(lines[i] for i in (1, 3, 7)))
    for name in ("cut.jsonl", "parts.jsonl"):  # of a run of several processes, too
        assert run(*bulk(name, *flags)).exit_code == 0
        assert Path(name).read_bytes() == b"".join(lines)
    assert not Path("parts.jsonl.rank-1").exists()


def test_answers_are_in_the_file_after_each_batch(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(Path("p"), 2, 5)
    monkeypatch.setattr("liquid_mlx.generation.text.BATCH", 2)
    written: list[int] = []
    together = Liquid.answers
    monkeypatch.setattr(
        Liquid, "answers", lambda *a, **k: written.append(lines("new.jsonl")) or together(*a, **k)
    )
    assert run(*bulk("new.jsonl")).exit_code == 0
    assert written == [0, 2, 5, 7]
    assert [row["question_id"] for row in read("new.jsonl")] == list(range(10))


@pytest.mark.parametrize("bad", ["", "why " * 9000])
def test_a_bad_question_fails_alone(bad: str, run: Run) -> None:
    questions = write_questions(Path("p"), 1, 4)
    run(*bulk("whole.jsonl"))
    questions[1]["text"] = bad
    Path("questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    done = run(*bulk("answers.jsonl"))
    assert done.exit_code == 3
    assert "question 1: " in done.stderr
    assert "3 of 4 questions answered" in done.stderr
    expected = answers(read("whole.jsonl"))
    assert answers(read("answers.jsonl")) == [expected[0], *expected[2:]]


def test_a_bad_picture_is_asked_again_next_time(run: Run) -> None:
    write_questions(Path("p"), 3, 1)
    picture = Path("p/001.png").read_bytes()
    Path("p/001.png").write_bytes(b"")
    done = run(*bulk("answers.jsonl"))
    assert done.exit_code == 3
    assert "question 1: " in done.stderr
    assert "001.png is empty" in done.stderr
    assert [row["question_id"] for row in read("answers.jsonl")] == [0, 2]
    Path("p/001.png").write_bytes(picture)
    assert run(*bulk("answers.jsonl")).exit_code == 0
    assert [row["question_id"] for row in read("answers.jsonl")] == [0, 1, 2]


@pytest.mark.parametrize("image", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_questions_cannot_leave_the_folder(image: str, run: Run) -> None:
    write_questions(Path("p"), 1, 1)
    Path("p/000.png").rename("secret.png")
    question = {"question_id": 0, "image": image, "text": "What?"}
    Path("questions.jsonl").write_text(json.dumps(question))
    done = run(*bulk("answers.jsonl"))
    assert done.exit_code == 3
    assert "not inside p" in done.stderr


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '"x"', '{"image": "x", "text": "y"}', '{"question_id": 1, "image": 2, "text": ""}'],
)
def test_a_line_that_is_no_question_is_named(line: str, run: Run) -> None:
    write_questions(Path("p"), 1, 1)
    with Path("questions.jsonl").open("a") as file:
        file.write(line + "\n")
    done = run(*bulk("answers.jsonl"))
    assert done.exit_code == 1
    assert "questions.jsonl, line 2" in done.stderr
    assert not Path("answers.jsonl").exists()


def test_a_file_that_holds_no_answers_is_left_alone(run: Run) -> None:
    write_questions(Path("p"), 1, 1)
    Path("precious.txt").write_text("my diary\nmore")
    done = run(*bulk("precious.txt"))
    assert done.exit_code == 1
    assert "line 1 is not an answer" in done.stderr
    assert Path("precious.txt").read_text() == "my diary\nmore"


def lines(name: str) -> int:
    """How many lines a file has so far."""
    return Path(name).read_bytes().count(b"\n") if Path(name).exists() else 0


def resident(process: int) -> int:
    """Memory of a process in bytes; 0 if it has just ended."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True)
    return int(shown.stdout or 0) * 1024


def interrupted_run(pictures: int, each: int, kills: int) -> list[int]:
    """Kill a run at random moments, take it up, compare with a whole run; memory on the way."""
    questions = write_questions(Path("p"), pictures, each)
    total = len(questions)
    draw = random.Random(1)
    for _ in range(kills):
        process = subprocess.Popen([LIQUID, *bulk("killed.jsonl", "-q")])
        goal = draw.randrange(total // 8, total // (kills + 1))
        before = (
            Path("killed.jsonl").read_bytes().count(b"\n") if Path("killed.jsonl").exists() else 0
        )
        while process.poll() is None:
            done = (
                Path("killed.jsonl").read_bytes().count(b"\n")
                if Path("killed.jsonl").exists()
                else 0
            )
            if done - before >= goal:
                time.sleep(draw.random() / 50)
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([LIQUID, *bulk("killed.jsonl", "-q")], check=True)
    memory = []
    process = subprocess.Popen([LIQUID, *bulk("whole.jsonl", "-q")])
    while process.poll() is None:
        if lines("whole.jsonl") >= (len(memory) + 1) * total // 10:
            memory.append(resident(process.pid))
        time.sleep(0.005)
    assert process.returncode == 0
    killed, whole = read("killed.jsonl"), read("whole.jsonl")
    assert [row["question_id"] for row in killed] == [q["question_id"] for q in questions]
    assert answers(killed) == answers(whole)
    assert len({row["text"] for row in whole}) > 1
    return memory


def test_killed_at_random_moments_nothing_is_lost_or_asked_twice() -> None:
    memory = interrupted_run(pictures=10, each=6, kills=2)
    assert len(memory) >= 5


@pytest.mark.slow
def test_a_thousand_questions_about_a_hundred_pictures_in_flat_memory() -> None:
    memory = np.array(interrupted_run(pictures=100, each=10, kills=3))
    assert memory[-1] <= memory[0] * 1.05 + 5e6
