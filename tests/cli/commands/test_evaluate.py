"""``liquid evaluate``: scoring alone, runs that resume, prompt sets, reports."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import LIQUID, Run
from tests.cli.test_vqa import read, write_questions
from tests.evaluation.test_scorers import lines, pope_files, stored, whole


def test_textvqa_is_scored_from_two_files(run: Run, tmp_path: Path) -> None:
    official = stored("textvqa")
    lines(tmp_path / "answers.jsonl", official["answers"])
    whole(tmp_path / "TextVQA_val.json", official["annotations"])
    files = ["--answers", "answers.jsonl", "--annotations", "TextVQA_val.json"]
    done = run("evaluate", "textvqa", *files, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    total = 0.0
    for score in official["scores"]:
        total += score
    assert found["scores"]["all"] == {"accuracy": total / 1200, "samples": 1200}
    low, high = found["intervals"]["all"]["accuracy"]
    assert low < total / 1200 < high
    assert run("evaluate", "textvqa", *files).stdout.split()[:5] == [
        *("group", "figure", "textvqa", "all", "accuracy")
    ]


def test_pope_is_scored_from_questions_answers_and_a_folder(run: Run, tmp_path: Path) -> None:
    official = stored("pope")
    answers, folder, questions = pope_files(tmp_path, official)
    files = ["--questions", questions, "--answers", answers, "--annotations", folder]
    found = json.loads(run("evaluate", "pope", *files, "--json").stdout)["scores"]
    for split, figures in official["official"].items():
        assert found[split]["f1"] == figures["F1 score"]
        assert found[split]["yes_ratio"] == figures["Yes ratio"]


def _custom(pictures: int, each: int) -> list[str]:
    """A small benchmark of one's own, and the command that runs it."""
    questions = write_questions(Path("p"), pictures, each)
    rows = [{"question_id": q["question_id"], "answer": ["red", "two"]} for q in questions]
    lines(Path("notes.jsonl"), rows)
    files = ["--questions", "questions.jsonl", "--images", "p", "--annotations", "notes.jsonl"]
    return ["evaluate", "custom", *files, "--max-tokens", "4", "--answers"]


def test_what_has_no_answer_is_asked_and_reported(run: Run) -> None:
    command = _custom(2, 3)
    reports = ["--report", "out/r.json", "--report", "out/r.md", "--report", "out/r.html"]
    done = run(*command, "a.jsonl", "--json", *reports)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["scores"]["all"]["samples"] == 6
    assert found["settings"]["max_tokens"] == 4
    assert found["peak_memory"] > 0
    assert len(read("a.jsonl")) == 6
    assert json.loads(Path("out/r.json").read_text())["scores"] == found["scores"]
    assert "<img" in Path("out/r.html").read_text()
    assert "| all | accuracy |" in Path("out/r.md").read_text()
    again = run(*command, "a.jsonl")
    assert "answers 6 of 6 questions already" in again.stderr
    side = run("evaluate", "report", "out/r.json", "out/r.json", "--report", "both.html")
    assert side.exit_code == 0
    assert "<svg" in Path("both.html").read_text()


@pytest.mark.slow
def test_killed_at_random_moments_a_run_comes_to_the_same_figures(run: Run) -> None:
    command = _custom(6, 5)
    whole = json.loads(run(*command, "whole.jsonl", "--json").stdout)["scores"]
    rng, killed = random.Random(0), 0
    for _ in range(10):
        process = subprocess.Popen(
            [LIQUID, *command, "killed.jsonl"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.2, 2.5))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed
    found = json.loads(run(*command, "killed.jsonl", "--json").stdout)["scores"]
    assert found == whole
    texts = [{row["question_id"]: row["text"] for row in read(name)}
             for name in ("whole.jsonl", "killed.jsonl")]  # fmt: skip
    assert texts[0] == texts[1]


def test_mmbench_takes_the_likeliest_letter(run: Run, model: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(data, "JPEG")
    picture = base64.b64encode(data.getvalue()).decode()
    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"
    rows = [f"{i}\tWhat colour?\tnan\tred\tblue\tnan\tnan\tA\tx\t{picture}\n" for i in (1, 2)]
    Path("mm.tsv").write_text(head + "".join(rows))
    done = run(
        *[
            "evaluate",
            "mmbench",
            "--answers",
            "a.jsonl",
            "--annotations",
            "mm.tsv",
            "--images",
            "im",
        ]
    )
    assert done.exit_code == 0, done.stderr
    for row in read("a.jsonl"):
        assert row["prompt"].endswith("from the given choices directly.")
        assert row["text"] in ("A", "B")
        assert row["metadata"]["choices"].keys() == {"A", "B"}


def test_questions_may_bring_choices(run: Run) -> None:
    command = _custom(1, 2)
    rows = [{**row, "choices": ["red", "blue"]} if i else row
            for i, row in enumerate(read("questions.jsonl"))]  # fmt: skip
    lines(Path("questions.jsonl"), rows)
    assert run(*command, "a.jsonl").exit_code == 0
    first, second = read("a.jsonl")
    assert "choices" not in first["metadata"]
    assert second["text"] in ("red", "blue")


def test_a_set_is_drawn_once_and_with_one_setting(run: Run) -> None:
    Path("prompts.txt").write_text("a red circle\na blue star\n")
    command = ["evaluate", "draw", "genai", "--prompts", "prompts.txt", "--pictures", "out"]
    assert run(*command).exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["00001.jpg", "00002.jpg"]
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert run(*command).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    other = run(*command, "--seed", "3")
    assert other.exit_code == 1
    assert "was begun with seed 0, not 3" in other.stderr
    judged = run("evaluate", "judge", *command[2:])
    assert judged.stdout.startswith("judged by itself, not comparable")
    assert "best_yes" in judged.stdout


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("cleanfid", ["fid", "out", "out"]),
        ("open_clip", ["clip", "custom", "--prompts", "prompts.txt", "--pictures", "out"]),
    ],
)
def test_what_needs_a_package_says_which_in_one_sentence(
    run: Run, package: str, arguments: list[str]
) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    Path("prompts.txt").write_text("a red circle\n")
    Path("out").mkdir()
    Image.new("RGB", (8, 8)).save("out/00001-0.png")
    done = run("evaluate", *arguments)
    assert done.exit_code == 2
    assert "pip install 'liquid-mlx[evaluate]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["textvqa", "--answers", "missing.jsonl", "--annotations", "x.json"], 1),
        (["textvqa", "--answers", "prompts.txt"], 1),
        (["textvqa"], 2),
        (["nothing"], 2),
        (["custom", "--answers", "a", "--images", "p"], 2),
        (["custom", "--answers", "a", "--report", "r.pdf"], 2),
        (["draw", "nothing", "--prompts", "prompts.txt", "--pictures", "o"], 2),
        (["draw", "genai", "--prompts", "prompts.txt", "--pictures", "o", "--each", "2"], 2),
        (["report", "prompts.txt"], 1),
    ],
)
def test_what_cannot_be_done_ends_in_a_sentence(run: Run, arguments: list[str], code: int) -> None:
    Path("prompts.txt").write_text("a red circle\n")
    done = run("evaluate", *arguments)
    assert done.exit_code == code
    assert done.stderr.strip()
    assert not Path("o").exists()


def test_compare_prints_what_a_model_costs(
    run: Run, converted: Callable[..., Path], tmp_path: Path
) -> None:
    Path("prompts.txt").write_text("a red circle\n")
    folder = converted("gemma_tiny")
    command = ["compare", folder, folder, "--prompts", "prompts.txt", "--report", "c.html"]
    done = run(*command, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["scores"]["guided"]["kl"] < 1e-9
    assert "KL by place" in (tmp_path / "c.html").read_text()
    wrong = run(*command, "--data", "x.jsonl")
    assert wrong.exit_code == 2
