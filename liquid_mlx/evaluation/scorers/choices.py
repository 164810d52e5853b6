"""Multiple choice (MMBench), and questions of one's own with exact answers."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.figures import Groups, Item, Row, Scored, Sums, mean, ratio
from liquid_mlx.evaluation.records import Answers, read_jsonl, read_text
from liquid_mlx.evaluation.scorers.vqa import textvqa_processed

LETTERS = "ABCD"
ASK = "Answer with the option's letter from the given choices directly."
ROTATION = 1_000_000  # what MMBench adds to a question's index for each rotation of its options


@dataclass(frozen=True)
class Choice:
    """A row of MMBench: a question with its options; ``image`` is the file's bytes."""

    index: int
    question: str
    options: dict[str, str]
    answer: str
    category: str
    image: bytes

    @property
    def prompt(self) -> str:
        """The prompt of LLaVA's ``model_vqa_mmbench.py``."""
        listed = [f"{letter}. {text}" for letter, text in self.options.items()]
        return "\n".join([self.question, *listed, ASK])


def read_mmbench(path: Path, *, images: bool = False) -> list[Choice]:
    """The questions of ``mmbench_dev_*.tsv``.

    Args:
        images: decode the images, too; a rotated question may name another's index instead.

    Raises:
        FileError: the file is another, or an image is damaged.
    """
    csv.field_size_limit(sys.maxsize)
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t"))
    if not rows or not {"index", "question", "A", "B"} <= rows[0].keys():
        raise FileError(f"{path} is not MMBench's table: index, question, hint, A, B, C, D, image.")
    stored = {row["index"]: row.get("image") or "" for row in rows}
    found = []
    for row in rows:
        options: dict[str, str] = {}
        for letter in LETTERS:
            if _missing(row.get(letter)):
                break
            options[letter] = row[letter]
        hint, question = row.get("hint"), row["question"]
        try:
            image = stored.get(stored[row["index"]], stored[row["index"]])
            data = base64.b64decode(image, validate=True) if images else b""
            index = int(row["index"])
        except (ValueError, binascii.Error):
            raise FileError(f"{path}: question {row['index'][:20]} is damaged.") from None
        whole = question if _missing(hint) else f"{hint}\n{question}"
        answer, category = row.get("answer") or "", row.get("category") or ""
        found.append(Choice(index, whole, options, answer, category, data))
    return found


def _missing(value: str | None) -> bool:
    return value is None or value.strip().lower() in ("", "nan", "none")


def letter_of(answer: str, options: dict[str, str]) -> str:
    """The option that an answer names, by letter or by its text; "" if it names none."""
    text = answer.strip()
    found = re.match(r"\(?([A-D])(?![A-Za-z])", text)
    if found and found.group(1) in options:
        return found.group(1)
    same = [letter for letter, option in options.items() if option.strip().lower() == text.lower()]
    return same[0] if len(same) == 1 else ""


def score_mmbench(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """MMBench's accuracy, by category; and over rotations of options, if the table has them.

    The leaderboard asks a language model what an answer means where no letter says it; here such
    an answer is wrong.

    Args:
        annotations: ``mmbench_dev_*.tsv``; that of the test set has no answers.

    Raises:
        FileError: the table is another, has no answers, or lacks one of the questions answered.
    """
    rows = {row.index: row for row in read_mmbench(annotations)}
    rights: dict[int, bool] = {}
    items = []
    for given in answers.rows:
        row = rows.get(given.id)
        if row is None or row.answer not in row.options:
            raise FileError(f"{annotations} has no question {str(given.id)[:50]} with its answer.")
        rights[row.index] = letter_of(given.text, row.options) == row.answer
        score = float(rights[row.index])
        image = str(row.index)
        items.append(Item(row.index, row.question, given.text, row.answer, score, image))
    parts: dict[str, list[Row]] = {"all": []}
    circles: dict[int, list[bool]] = {}
    for index, right in rights.items():
        parts["all"].append((float(right), 1))
        parts.setdefault(f"category {rows[index].category}", []).append((float(right), 1))
        circles.setdefault(index % ROTATION, []).append(right)
    if len(circles) < len(rights):
        parts["circular"] = [(float(all(circle)), 1) for circle in circles.values()]
    return Scored("mmbench", parts, mean("accuracy"), items)


def score_custom(answers: Answers, annotations: Path, questions: Path | None = None) -> Scored:
    """Questions of one's own: right if an answer is one of the accepted ones.

    ``exact`` compares without regard to case and spaces around, ``accuracy`` after TextVQA's
    processing of answers. A ``category`` in the annotations makes a group.

    Args:
        annotations: JSONL of ``question_id`` and ``answer`` (a text, or a list of accepted ones).

    Raises:
        FileError: the annotations lack a question that is answered.
    """
    notes = {}
    for note in read_jsonl(annotations, "question_id", "answer"):
        accepted = note["answer"] if isinstance(note["answer"], list) else [note["answer"]]
        notes[note["question_id"]] = ([str(text) for text in accepted], note.get("category"))
    parts: dict[str, list[Row]] = {"all": []}
    items = []
    for row in answers.rows:
        if row.id not in notes:
            raise FileError(f"{annotations} has no question {str(row.id)[:50]}.")
        accepted, category = notes[row.id]
        exact = row.text.strip().lower() in [text.strip().lower() for text in accepted]
        right = textvqa_processed(row.text) in [textvqa_processed(text) for text in accepted]
        for part in ["all", *([f"category {category}"] if category is not None else [])]:
            parts.setdefault(part, []).append((float(right), float(exact), 1))
        items.append(Item(row.id, row.prompt, row.text, accepted[0], float(right)))
    return Scored("custom", parts, _custom, items)


def _custom(sums: Sums) -> Groups:
    return {
        part: {
            "accuracy": ratio(right, count),
            "exact": ratio(exact, count),
            "samples": round(count),
        }
        for part, (right, exact, count) in sums.items()
    }
