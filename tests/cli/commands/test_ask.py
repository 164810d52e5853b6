"""``liquid ask``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from liquid_mlx import load
from liquid_mlx.cli.terminal import clean, one_line
from liquid_mlx.errors import SettingsError
from liquid_mlx.model import Liquid
from tests.cli.conftest import Run, in_terminal, screen

RED, QUESTION = "photos/red.png", "What is in the picture?"


def test_answers_what_the_library_answers(photos: Path, run: Run, model: str) -> None:
    done = run("ask", RED, QUESTION, "-m", "8")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout == clean(load(model).answer(RED, QUESTION, max_tokens=8)) + "\n"


def test_sampling_settings_reach_the_model(photos: Path, run: Run, model: str) -> None:
    flags = "-m 8 --temp 1.5 --top-k 50 --top-p 0.9 --seed 3 --no-exif --dtype float32 -v"
    done = run("ask", RED, QUESTION, *flags.split())
    expected = load(model, dtype="float32").answer(
        RED, QUESTION, max_tokens=8, temperature=1.5, top_k=50, top_p=0.9, seed=3, exif=False
    )
    assert done.stdout == clean(expected) + "\n"
    assert "first token after" in done.stderr
    assert "tokens/s" in done.stderr
    assert "peak memory" in done.stderr


def test_many_pictures_in_a_pipe_are_tab_separated(photos: Path, run: Run, model: str) -> None:
    done = run("ask", "photos", QUESTION, "-m", "4")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["photos/blue.png", "photos/green.png", RED]
    expected = load(model).answer(RED, QUESTION, max_tokens=4)
    assert rows[2][1] == one_line(expected)


def test_many_questions(photos: Path, run: Run) -> None:
    done = run("ask", "photos", "-p", "What colour?", "-p", "What shape?", "-m", "3")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows] == ["What colour?", "What shape?"] * 3


def test_questions_asked_together_are_answered_as_alone(
    photos: Path, run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ["What colour?", "What shape is in the picture?", "Is it red?"]
    flags = [flag for question in questions for flag in ("-p", question)]
    sampling = {"temperature": 1.5, "max_tokens": 6}
    sizes: list[int] = []
    answers = Liquid.answers
    monkeypatch.setattr(
        Liquid, "answers", lambda *a, **k: sizes.append(len(a[2])) or answers(*a, **k)
    )
    for most, expected in ((16, [3] * 3), (2, [2] * 3)):
        monkeypatch.setattr("liquid_mlx.generation.text.BATCH", most)
        done = run("ask", "photos", *flags, "-m", "6", "--temp", "1.5", "--seed", "4", "--json")
        rows = json.loads(done.stdout)
        assert [row["question"] for row in rows] == questions * 3
        assert sizes == expected  # a question that is left alone is asked alone
        sizes.clear()
        liquid = load(model)
        for i, row in enumerate(rows):
            alone = liquid.answer(row["picture"], row["question"], seed=4 + i, **sampling)
            assert row["answer"] == alone.strip()


@pytest.mark.parametrize("bad", [" ", "why " * 9000])
def test_a_bad_question_fails_alone(bad: str, photos: Path, run: Run, model: str) -> None:
    flags = ["-p", QUESTION, "-p", bad, "-p", "What colour?", "-m", "4", "--json"]
    done = run("ask", "photos/red.png", "photos/blue.png", *flags)
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 2
    rows = json.loads(done.stdout)
    assert ["error" in row for row in rows] == [False, True, False] * 2
    assert rows[1]["question"] == bad
    assert rows[2]["answer"] == load(model).answer(RED, "What colour?", max_tokens=4).strip()


def test_a_bad_picture_fails_once_for_all_its_questions(photos: Path, run: Run) -> None:
    (photos / "blue.png").write_bytes(b"no picture")
    done = run("ask", "photos", "-p", QUESTION, "-p", "What colour?", "-m", "2", "--json")
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert "photos/blue.png" in line
    rows = json.loads(done.stdout)
    assert ["answer" in row for row in rows] == [False, True, True, True, True]
    assert set(rows[0]) == {"picture", "error"}


def test_json_and_jsonl(photos: Path, run: Run) -> None:
    flags = ["photos", "missing.png", QUESTION, "-m", "3"]
    array = run("ask", *flags, "--json")
    lines = run("ask", *flags, "--jsonl")
    assert array.exit_code == lines.exit_code == 3
    rows = json.loads(array.stdout)
    assert rows == [json.loads(line) for line in lines.stdout.splitlines()]
    assert [set(row) for row in rows[:3]] == [{"picture", "question", "answer"}] * 3
    assert set(rows[3]) == {"picture", "error"}
    one = json.loads(run("ask", RED, QUESTION, "-m", "3", "--json").stdout)
    assert one == rows[2]


def test_a_bad_picture_is_reported_and_does_not_stop_the_rest(photos: Path, run: Run) -> None:
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    done = run("ask", "photos", QUESTION, "-m", "2")
    assert done.exit_code == 3
    assert len(done.stdout.splitlines()) == 3
    assert len(done.stderr.splitlines()) == 1
    assert "photos/damaged.jpg" in done.stderr


def test_choices_have_probabilities_that_sum_to_one(photos: Path, run: Run) -> None:
    flags = ["--choices", "yes, no,maybe"]
    row = json.loads(run("ask", RED, QUESTION, *flags, "--json").stdout)
    assert set(row["choices"]) == {"yes", "no", "maybe"}
    assert math.isclose(sum(row["choices"].values()), 1, rel_tol=1e-6)
    assert row["probability"] == max(row["choices"].values()) == row["choices"][row["answer"]]
    text = run("ask", RED, QUESTION, *flags).stdout
    assert text == f"{row['answer']}\t{row['probability']:.4f}\n"


def test_scores_are_those_of_the_model_s_logits(photos: Path, run: Run, model: str) -> None:
    """The score is the sum of the log-probabilities along the answer, its end included."""
    import mlx.core as mx

    liquid = load(model, dtype="float32")
    done = run("ask", RED, QUESTION, "--score", "a red square", "--json", "--dtype", "float32")
    shared, rest = liquid.prompts.question(liquid.encode(RED), QUESTION)
    reply = liquid.prompts.reply("a red square")
    logits = liquid.logits([*shared, *rest, *reply])[:, : liquid.config.image_offset]
    logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    start = len(shared) + len(rest) - 1
    expected = sum(logs[start + i, token].item() for i, token in enumerate(reply))
    stop = sorted({*liquid.config.eos_ids, liquid.config.special["end_of_turn"]})
    expected += mx.logsumexp(logs[-1, mx.array(stop)]).item()
    assert math.isclose(json.loads(done.stdout)["log_probability"], expected, abs_tol=1e-3)


def test_choosing_compares_scores(photos: Path, model: str) -> None:
    liquid = load(model, dtype="float32")
    before = liquid.answer(RED, QUESTION, max_tokens=5)
    choices = ["yes", "no", "a very long answer"]
    shares = liquid.choose(RED, QUESTION, choices)
    scores = [liquid.score(RED, QUESTION, choice) for choice in choices]
    total = sum(math.exp(score - max(scores)) for score in scores)
    for choice, score in zip(choices, scores, strict=True):
        expected = math.exp(score - max(scores)) / total
        assert math.isclose(shares[choice], expected, rel_tol=1e-3, abs_tol=1e-6)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert liquid.answer(RED, QUESTION, max_tokens=5) == before


@pytest.mark.parametrize("choices", [[], ["yes"], ["yes", "yes"]])
def test_choices_are_two_or_more(choices: list[str], photos: Path, model: str) -> None:
    with pytest.raises(SettingsError, match="two or more"):
        load(model).choose(RED, QUESTION, choices)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_on_a_terminal_fits_it(columns: int, photos: Path) -> None:
    (photos / "red.png").rename(photos / ("long-name-" * 12 + "é.png"))
    command = ["ask", "photos", "-p", QUESTION, "-p", "Why? " * 30, "-m", "40"]
    done = in_terminal(command, columns=columns)
    assert done.code == 0
    lines = screen(done.output)
    assert lines[0].split() == ["PICTURE", "QUESTION", "ANSWER"]
    assert all(len(line) < columns for line in lines)
    assert sum(".png" in line for line in lines) == 6  # the ends of paths are kept


def test_text_from_outside_cannot_drive_the_terminal(
    photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liquid_mlx.results import TextStep

    evil = "\x1b]0;owned\x07\x1b[2Jred\r"
    steps = iter([TextStep(evil, 1, 1)])
    monkeypatch.setattr(Liquid, "stream_answer", lambda *_, **__: steps)
    done = run("ask", RED, QUESTION)
    assert done.stdout == "]0;owned[2Jred\n"
    (photos / "red.png").rename("photos/\x1b[31m.png")
    monkeypatch.undo()
    done = run("ask", "photos", QUESTION, "-m", "1")
    assert "\x1b" not in done.stdout
