"""Files of questions, answers and annotations in their official forms, read within bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.files import read_bytes, user_path

MAX_FILE = 2_000_000_000  # VQAv2's annotations of its training set have 380 MB


@dataclass(frozen=True)
class Answer:
    """One answer of a model; ``prompt`` is the question that was asked, if the file says it."""

    id: Any
    text: str
    prompt: str = ""


@dataclass(frozen=True)
class Answers:
    """Answers in the order of their file.

    ``submitted`` says that the file is what a benchmark's server takes (a JSON array), where texts
    are processed already; else it is a JSONL of LLaVA's form, as ``liquid ask --answers`` writes.
    """

    path: Path
    rows: Sequence[Answer]
    submitted: bool = False

    def by_id(self) -> dict[Any, Answer]:
        """The last answer to every question."""
        return {row.id: row for row in self.rows}


def read_text(path: Path) -> str:
    """A UTF-8 file; raises FileError."""
    try:
        return read_bytes(user_path(path), MAX_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{path} is not UTF-8 text.") from None


def read_any(path: Path) -> Any:
    """The value of a JSON file; raises FileError."""
    try:
        return json.loads(read_text(path), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read as JSON ({str(error)[:200]}).") from None


def read_jsonl(path: Path, *names: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file; raises FileError for a line that is none or lacks a name."""
    return jsonl(read_text(path), path, *names)


def _no_number(text: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"{text} is no number")


def jsonl(text: str, path: Path, *names: str) -> list[dict[str, Any]]:
    """The same from the file's text."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 is no line's end
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(name in row for name in names):
            wanted = f" with {', '.join(names)}" if names else ""
            raise FileError(f"{path}, line {number} is not a JSON object{wanted}.")
        rows.append(row)
    if not rows:
        raise FileError(f"{path} is empty.")
    return rows


def read_answers(path: Path) -> Answers:
    """Answers in LLaVA's JSONL, or as submitted to a server: VQA's or GQA's JSON array.

    Raises:
        FileError: it is neither.
    """
    text = read_text(path)
    if not text.lstrip().startswith("["):
        rows = jsonl(text, path, "question_id", "text")
        found = [Answer(row["question_id"], row["text"], row.get("prompt", "")) for row in rows]
    else:
        try:
            found = [
                Answer(row["questionId"], row["prediction"])
                if "questionId" in row
                else Answer(row["question_id"], row["answer"])
                for row in json.loads(text)
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FileError(
                f"{path} is not an array of question_id and answer, or questionId and prediction."
            ) from None
    for row in found:
        if not isinstance(row.id, int | str) or not isinstance(row.text, str):
            raise FileError(f"{path}: the answer to question {str(row.id)[:50]} is not a text.")
    if not found:
        raise FileError(f"{path} has no answers.")
    return Answers(path, found, submitted=text.lstrip().startswith("["))


def need(values: Any, *names: str, path: Path, what: str) -> list[Any]:
    """The values of these names in a JSON object; raises FileError if one is missing."""
    if not isinstance(values, Mapping) or not all(name in values for name in names):
        raise FileError(f"{path}: {what} has no {', '.join(names)}: is this the right file?")
    return [values[name] for name in names]
