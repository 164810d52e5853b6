"""Files of questions and answers in LLaVA's form, which VQA scripts read and write.

A question is ``{"question_id", "image", "text"}``, an answer ``{"question_id", "prompt", "text",
"answer_id", "model_id", "metadata"}``, one JSON object per line.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError, ImageError

from .asker import Asker, batches
from .outputs import read_lines
from .terminal import Status, about


@dataclass(frozen=True)
class Question:
    """One line of a file of questions."""

    id: int | str
    image: str
    text: str


def read_questions(path: Path) -> list[Question]:
    """Read a file of questions (``-``: stdin); raises FileError for a line that is not one."""
    found = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            values = json.loads(line)
            question = Question(values["question_id"], values["image"], values["text"])
        except (ValueError, KeyError, TypeError):
            question = None
        if (
            question is None
            or not isinstance(question.id, (int, str))
            or not isinstance(question.image, str)
            or not isinstance(question.text, str)
        ):
            raise FileError(
                f"{path}, line {number}: a question is a JSON object with question_id, image "
                "and text."
            )
        found.append(question)
    return found


class Answers:
    """A file of answers that grows line by line, and is taken up where it was left."""

    def __init__(self, path: Path, questions: list[Question]):
        """Look which questions the file answers already; raises FileError if it is another file."""
        self._path = path.expanduser()
        self._questions = questions
        known = self._read()
        self._todo: list[tuple[int, Question]] = []
        for index, question in enumerate(questions):
            if (question.id, question.text) not in known:
                self._todo.append((index, question))
                known.add((question.id, question.text))

    def _read(self) -> set[tuple[Any, str]]:
        """What is answered; a last line that was cut short is taken off."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise FileError(f"{self._path} cannot be read ({error.strerror}).") from None
        whole = data.rfind(b"\n") + 1
        known: set[tuple[Any, str]] = set()
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                values = json.loads(line)
                known.add((values["question_id"], values["prompt"]))
            except (ValueError, KeyError, TypeError):
                raise FileError(
                    f"{self._path}, line {number} is not an answer: name another file."
                ) from None
        if whole < len(data):
            os.truncate(self._path, whole)
        return known

    def fill(self, asker: Asker, folder: Path | None, status: Status) -> int:
        """Answer what is not answered yet; the number of questions that failed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        total, failed = len(self._questions), 0
        skipped = total - len(self._todo)
        if skipped:
            status.say(f"{self._path} answers {skipped} of {total} questions already")
        status.start("asking")
        position = 0
        with self._path.open("ab", buffering=0) as file:
            for image, group in groupby(self._todo, key=lambda task: task[1].image):
                for batch in batches(list(group)):
                    tasks = [(index, question.text) for index, question in batch]
                    try:
                        found = asker.ask_all(_inside(folder, image), tasks)
                    except ImageError as error:
                        found = [{"error": error} for _ in batch]
                    for (_, question), answer in zip(batch, found, strict=True):
                        if "error" in answer:
                            failed += 1
                            status.warn(f"question {question.id}: {about(image, answer['error'])}")
                        else:
                            file.write(_line(question, answer, asker.liquid.name))
                    position += len(batch)
                    status.progress(str(self._path), position, len(self._todo), "answers")
        status.say(f"{self._path}  {total - failed} of {total} questions answered")
        return failed


def _line(question: Question, answer: dict[str, Any], model: str) -> bytes:
    """A line of a file of answers."""
    line = {
        "question_id": question.id,
        "prompt": question.text,
        "text": answer.pop("answer"),
        "answer_id": uuid.uuid4().hex,
        "model_id": Path(model).name,
        "metadata": answer,
    }
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _inside(folder: Path | None, image: str) -> Path:
    """The file of a question's picture; a folder that was named is not left."""
    if folder is None:
        return Path(image)
    path = os.path.normpath(image)
    if os.path.isabs(path) or path.startswith(".."):
        raise ImageError(f"it is not inside {folder}.")
    return folder.expanduser() / path
