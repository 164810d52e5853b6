"""Scorers against stored outputs of the official scripts (tests/data/evaluation/README.md)."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.scorers import score
from liquid_mlx.evaluation.scorers.vqa import textvqa_processed

DATA = Path(__file__).parents[1] / "data/evaluation"


def stored(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))


def lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def whole(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_textvqa_is_the_official_one(tmp_path: Path) -> None:
    official = stored("textvqa")
    answers = lines(tmp_path / "a.jsonl", official["answers"])
    notes = whole(tmp_path / "n.json", official["annotations"])
    found = score("textvqa", answers, notes)
    texts = [textvqa_processed(answer["text"]) for answer in official["answers"]]
    assert texts == official["processed"]
    assert [item.score for item in found.items] == official["scores"]
    figure = found.exact()["all"]["accuracy"]
    assert figure is not None
    assert len(found.items) == 1200
    assert f"{100.0 * figure:.2f}" == official["printed"]


@pytest.mark.parametrize("form", ["converted", "raw"])
def test_vqav2_is_the_official_one(tmp_path: Path, form: str) -> None:
    official = stored("vqav2")
    notes = whole(tmp_path / "n.json", official["annotations"])
    if form == "converted":  # as the reference hands answers in: processed, then submitted
        answers = lines(tmp_path / "a.jsonl", official["answers"])
    else:
        rows = [{"question_id": a["question_id"], "answer": a["text"]} for a in official["answers"]]
        answers = whole(tmp_path / "a.json", rows)
    found = score("vqav2", answers, notes)
    figures, single = official[form]
    assert {str(item.id): 100 * item.score for item in found.items} == single
    percent = _percent(found)
    assert percent["all"] == figures["overall"]
    for kind, values in (("answer", "perAnswerType"), ("question", "perQuestionType")):
        for name, value in figures[values].items():
            assert percent[f"{kind} type {name}"] == value


def _percent(found: Any) -> dict[str, float]:
    """100 * sum / count, in the official order of operations."""
    percent = {}
    for part, rows in found.parts.items():
        total = 0.0
        for value, _ in rows:
            total += value
        percent[part] = 100 * total / len(rows)
        assert found.exact()[part] == {"accuracy": total / len(rows), "samples": len(rows)}
    return percent


def test_missing_answers_to_vqav2_count_as_empty(tmp_path: Path) -> None:
    official = stored("vqav2")
    notes = whole(tmp_path / "n.json", official["annotations"])
    some = [{**a, "text": ""} if a["question_id"] % 3 else a for a in official["answers"]]
    empty = score("vqav2", lines(tmp_path / "a.jsonl", some), notes).exact()
    fewer = [answer for answer in official["answers"] if answer["question_id"] % 3 == 0]
    assert score("vqav2", lines(tmp_path / "b.jsonl", fewer), notes).exact() == empty


def pope_files(folder: Path, official: dict[str, Any]) -> tuple[Path, Path, Path]:
    (folder / "coco").mkdir()
    for split, rows in official["labels"].items():
        lines(folder / "coco" / f"coco_pope_{split}.json", rows)
    questions = lines(folder / "q.jsonl", official["questions"])
    return lines(folder / "a.jsonl", official["answers"]), folder / "coco", questions


def test_pope_is_the_official_one(tmp_path: Path) -> None:
    official = stored("pope")
    found = score("pope", *pope_files(tmp_path, official)).exact()
    assert found.keys() == official["official"].keys()
    for split, figures in official["official"].items():
        own = found[split]
        counts = [own[f"{kind}_{sign}s"] for kind, sign in _POPE_COUNTS]
        assert counts == figures["counts"]
        for name, key in _POPE_NAMES.items():
            assert own[key] == figures[name]


_POPE_COUNTS = (
    ("true", "positive"), ("false", "positive"), ("true", "negative"), ("false", "negative"),
)  # fmt: skip
_POPE_NAMES = {
    "Accuracy": "accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "F1 score": "f1",
    "Yes ratio": "yes_ratio",
}


def test_pope_takes_answers_in_the_order_of_the_questions(tmp_path: Path) -> None:
    official = stored("pope")
    answers, labels, questions = pope_files(tmp_path, official)
    expected = score("pope", answers, labels, questions).exact()
    lines(answers, reversed(official["answers"]))
    assert score("pope", answers, labels, questions).exact() == expected


def test_pope_refuses_a_split_that_is_not_answered_whole(tmp_path: Path) -> None:
    official = stored("pope")
    answers, labels, questions = pope_files(tmp_path, official)
    lines(answers, official["answers"][:-1])
    with pytest.raises(FileError, match="answers 499 of the 500 questions of adversarial"):
        score("pope", answers, labels, questions)


@pytest.mark.parametrize("form", ["folder", "jsonl"])
def test_mme_is_the_official_one(tmp_path: Path, form: str) -> None:
    official = stored("mme")
    if form == "folder":
        for task, rows in official["rows"].items():
            text = "".join("\t".join(row) + "\n" for row in rows)
            (tmp_path / f"{task}.txt").write_text(text)
        found = score("mme", tmp_path).exact()
    else:
        answers = []
        for task, rows in official["rows"].items():
            folder = tmp_path / "mme" / task
            folder = folder / "questions_answers_YN" if task == "scene" else folder
            folder.mkdir(parents=True)
            for image, question, truth, reply in rows:
                with (folder / image.replace(".png", ".txt")).open("a") as file:
                    file.write(f"{question}\t{truth}\n")
                asked = question.replace(" Please answer yes or no.", "")
                ask = "\nAnswer the question using a single word or phrase."
                answers.append(
                    {"question_id": f"{task}/{image}", "prompt": asked + ask, "text": reply}
                )
        found = score("mme", lines(tmp_path / "a.jsonl", answers), tmp_path / "mme").exact()
    assert sum(len(rows) for rows in official["rows"].values()) >= 1000
    assert {group: values["score"] for group, values in found.items()} == official["official"]


def test_gqa_is_the_official_one(tmp_path: Path) -> None:
    official = stored("gqa")
    answers = lines(tmp_path / "a.jsonl", official["answers"])
    notes = whole(tmp_path / "q.json", official["questions"])
    found = score("gqa", answers, notes).exact()
    names = {"Accuracy": "all"}
    group = ""
    for line in official["printed"].splitlines():
        if line.startswith("Accuracy /"):
            group = {"words number:": "words", "steps number:": "steps"}.get(
                line.split("/ ")[1], line.split("/ ")[1].removesuffix(" type:")
            )
        elif match := re.match(r"(Accuracy|Binary|Open|Consistency): (\S+)%", line):
            value = found[names.get(match[1], match[1].lower())]["accuracy"]
            assert value is not None
            assert value * 100 == float(match[2])
        elif match := re.match(r"  (\w+): (\S+)% \((\d+) questions\)", line):
            own = found[f"{group} {match[1]}"]
            assert own["accuracy"] is not None
            assert own["accuracy"] * 100 == float(match[2])
            assert own["samples"] == int(match[3])
    assert len(found) == 26


def test_gqa_needs_every_balanced_question(tmp_path: Path) -> None:
    official = stored("gqa")
    notes = whole(tmp_path / "q.json", official["questions"])
    with pytest.raises(FileError, match="no answer to question"):
        score("gqa", lines(tmp_path / "a.jsonl", official["answers"][:-40]), notes)


def test_mmbench_reads_letters_and_counts_rotations_together(tmp_path: Path) -> None:
    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\n"
    rows = [
        "1\tWhich?\tnan\tred\tblue\tnan\tnan\tA\tcolour\taGk=",
        '2\tWhere?\t"Look\nwell"\tleft\tright\tup\tnan\tC\tplace\taGk=',
        "1000001\tWhich?\tnan\tblue\tred\tnan\tnan\tB\tcolour\t1",
    ]
    table = tmp_path / "mmbench.tsv"
    table.write_text(head + "\n".join(rows) + "\n")
    said = {1: "A. red", 2: "(C)", 1000001: "blue"}
    answers = [{"question_id": id, "prompt": "", "text": text} for id, text in said.items()]
    found = score("mmbench", lines(tmp_path / "a.jsonl", answers), table).exact()
    assert found["all"] == {"accuracy": 2 / 3, "samples": 3}
    assert found["category colour"] == {"accuracy": 1 / 2, "samples": 2}
    assert found["circular"] == {"accuracy": 1 / 2, "samples": 2}


def test_custom_answers_are_compared_processed_and_exactly(tmp_path: Path) -> None:
    notes = [
        {"question_id": 1, "answer": "two dogs", "category": "count"},
        {"question_id": 2, "answer": ["red", "crimson"]},
        {"question_id": 3, "answer": "no"},
    ]
    said = {1: "The 2 dogs.", 2: " Crimson ", 3: "yes"}
    answers = [{"question_id": id, "prompt": "?", "text": text} for id, text in said.items()]
    files = lines(tmp_path / "a.jsonl", answers), lines(tmp_path / "n.jsonl", notes)
    found = score("custom", *files).exact()
    assert found["all"] == {"accuracy": 2 / 3, "exact": 1 / 3, "samples": 3}
    assert found["category count"] == {"accuracy": 1.0, "exact": 0.0, "samples": 1}


@pytest.mark.parametrize("task", ["vqav2", "textvqa", "gqa", "pope", "mme", "mmbench", "custom"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '{"question_id": 1}', "\0", '[{"a": 1}]'])
def test_what_is_not_a_file_of_answers_or_annotations_ends_in_a_sentence(
    tmp_path: Path, task: str, text: str
) -> None:
    odd, good = tmp_path / "odd", tmp_path / "good.jsonl"
    odd.write_text(text)
    lines(good, [{"question_id": 1, "prompt": "a\nb", "text": "x", "category": "random"}])
    with pytest.raises(FileError):
        score(task, odd, good, good)
    with pytest.raises(FileError):
        score(task, good, odd, good)
    with pytest.raises(FileError):
        score(task, good, tmp_path / "missing", good)


ODD = {
    "vqav2": {"annotations": [{"question_id": 1, "answers": 3}]},
    "textvqa": {"data": [{"image_id": [], "question": 1, "answers": "x" * 10}]},
    "gqa": {"1": {"answer": "x", "types": 1, "question": 2}},
}


@pytest.mark.parametrize("task", ODD)
def test_annotations_with_values_of_other_kinds_end_in_a_sentence(
    tmp_path: Path, task: str
) -> None:
    rows = [{"question_id": "1", "prompt": "a\nb", "text": "x"}]
    with pytest.raises(FileError):
        score(task, lines(tmp_path / "a.jsonl", rows), whole(tmp_path / "n.json", ODD[task]))
