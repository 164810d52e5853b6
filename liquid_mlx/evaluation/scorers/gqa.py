"""GQA: exact match, as the official ``eval.py`` counts, after LLaVA's conversion of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Item, Row, Scored, mean
from liquid_mlx.evaluation.records import Answers, need, read_any

NO_STEP = ("exist", "query: name", "choose name")


def gqa_processed(text: str) -> str:
    """An answer as ``convert_gqa_for_eval.py`` hands it over."""
    return text.rstrip(".").lower()


def score_gqa(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """GQA's accuracy over the balanced questions, by kind of question, steps and words.

    Consistency is among the figures if there is an answer to every question that those answered
    rightly entail. Validity, plausibility and the distance of distributions are left out.

    Args:
        answers: JSONL, or the array of questionId and prediction.
        annotations: ``testdev_balanced_questions.json``.

    Raises:
        FileError: the annotations are others, or a balanced question has no answer.
    """
    notes = read_any(annotations)
    if not isinstance(notes, dict):
        raise FileError(f"{annotations} is not GQA's object of questions.")
    said = {
        str(id): row.text if answers.submitted else gqa_processed(row.text)
        for id, row in answers.by_id().items()
    }
    parts: dict[str, list[Row]] = {"all": [], "binary": [], "open": []}
    consistency: list[Row] | None = []
    items = []
    for id, note in notes.items():
        gold, types, text = need(
            note, "answer", "types", "question", path=annotations, what=f"question {id}"
        )
        if not note.get("isBalanced", True):
            continue
        if id not in said:
            raise FileError(f"{answers.path} has no answer to question {id}: answer them all.")
        right = said[id] == gold
        for part in _parts(note, types, text):
            parts.setdefault(part, []).append((float(right), 1))
        if right and consistency is not None:
            consistency = _entailed(id, note, notes, said, consistency)
        items.append(Item(id, text, said[id], gold, float(right), f"{note.get('imageId', '')}.jpg"))
    if not items:
        raise FileError(f"{annotations} has no balanced question.")
    if consistency:
        parts["consistency"] = consistency
    known = {part: rows for part, rows in parts.items() if rows}
    return Scored("gqa", known, mean("accuracy"), items)


def _parts(note: dict[str, Any], types: dict[str, Any], text: str) -> list[str]:
    structural = types.get("structural", "")
    operations = [f"{s['operation']}: {s['argument']}" for s in note.get("semantic", [])]
    steps = sum(not any(name in each for name in NO_STEP) for each in operations)
    return [
        "all",
        "open" if structural == "query" else "binary",
        f"structural {structural}",
        f"semantic {types.get('semantic', '')}",
        f"steps {steps}",
        f"words {len(text.split())}",
    ]


def _entailed(
    id: str, note: dict[str, Any], notes: dict[str, Any], said: dict[str, str], rows: list[Row]
) -> list[Row] | None:
    """``rows`` and the share of entailed questions that are right; None: one is unanswered."""
    others = [other for other in note.get("entailed", []) if other != id]
    if not all(other in said and other in notes for other in others):
        return None
    if others:
        right = sum(said[other] == notes[other]["answer"] for other in others)
        rows.append((right / len(others), 1))
    return rows
