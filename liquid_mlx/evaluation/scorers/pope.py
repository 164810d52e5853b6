"""POPE: is the object in the image? As ``llava/eval/eval_pope.py`` counts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Groups, Item, Row, Scored, Sums, ratio
from liquid_mlx.evaluation.records import Answer, Answers, read_jsonl
from liquid_mlx.files import user_path

NAME = "coco_pope_{}.json"


def is_no(text: str) -> bool:
    """Whether an answer's first sentence says no; everything else is a yes."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return bool({"No", "not", "no"} & set(words))


def score_pope(answers: Answers, annotations: Path, questions: Path | None) -> Scored:
    """POPE's accuracy, precision, recall, F1 and share of yes, for every split.

    Args:
        answers: taken in the order of the questions, which is that of the labels.
        annotations: the folder of ``coco_pope_{split}.json``.
        questions: ``llava_pope_test.jsonl``, whose ``category`` is the split.

    Raises:
        FileError: a file is missing or another, or a split has not as many answers as labels.
    """
    if questions is None:
        raise FileError("POPE's answers need --questions: the file says which split each is of.")
    asked = {row["question_id"]: row for row in read_jsonl(questions, "question_id", "category")}
    places = {id: place for place, id in enumerate(asked)}
    splits: dict[str, list[Answer]] = defaultdict(list)
    for row in answers.rows:
        if row.id not in asked:
            raise FileError(f"{questions} has no question {row.id}, which {answers.path} answers.")
        splits[asked[row.id]["category"]].append(row)
    files = sorted(user_path(annotations).glob(NAME.format("*")))
    if not files:
        raise FileError(f"{annotations} has no {NAME.format('*')}: name POPE's folder of labels.")
    parts: dict[str, list[Row]] = {}
    items = []
    for file in files:
        split = file.name[10:-5]
        labels = read_jsonl(file, "label")
        found = sorted(splits[split], key=lambda row: places[row.id])
        if len(found) != len(labels):
            raise FileError(
                f"{answers.path} answers {len(found)} of the {len(labels)} questions of {split}: "
                "answer them all first."
            )
        pairs = list(zip(found, labels, strict=True))
        parts[split] = [_row(row, label) for row, label in pairs]
        items += [_item(row, label, asked[row.id]) for row, label in pairs]
    return Scored("pope", parts, _figures, items)


def _row(answer: Answer, label: dict[str, Any]) -> Row:
    """(true positives, false positives, true negatives, false negatives) of one answer."""
    yes, right = not is_no(answer.text), label["label"] != "no"
    return (yes and right, yes and not right, not yes and not right, not yes and right)


def _item(answer: Answer, label: dict[str, Any], asked: dict[str, Any]) -> Item:
    said, wanted = "no" if is_no(answer.text) else "yes", str(label["label"])
    text, image = str(asked.get("text", answer.prompt)), str(asked.get("image", ""))
    return Item(answer.id, text, answer.text, wanted, float(said == wanted), image)


def _figures(sums: Sums) -> Groups:
    return {split: _split(*counts) for split, counts in sums.items()}


def _split(tp: float, fp: float, tn: float, fn: float) -> dict[str, float | None]:
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    total = tp + fp + tn + fn
    f1 = None
    if precision is not None and recall is not None and precision + recall:
        f1 = 2 * precision * recall / (precision + recall)
    return {
        "accuracy": ratio(tp + tn, total),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "yes_ratio": ratio(tp + fp, total),
        "true_positives": round(tp),
        "false_positives": round(fp),
        "true_negatives": round(tn),
        "false_negatives": round(fn),
        "samples": round(total),
    }
