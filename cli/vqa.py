"""Files of questions and answers in LLaVA's form, which VQA scripts read and write.

A question is ``{"question_id", "image", "text"}``, an answer ``{"question_id", "prompt", "text",
"answer_id", "model_id", "metadata"}``, one JSON object per line.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from dataclasses import dataclass
from io import FileIO
from itertools import groupby
from pathlib import Path
from typing import Any

from liquid_mlx.display import to_json
from liquid_mlx.errors import FileError, ImageError
from liquid_mlx.files import read_bytes, user_path

from .asker import Asker, batches
from .outputs import read_lines
from .terminal import Status, about

MOST_BYTES = 1 << 30  # of a file of answers


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
        except (ValueError, KeyError, TypeError, RecursionError):
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
        """Look whether the file is one of answers; raises FileError if it is another."""
        self._path = user_path(path)
        self._questions = questions
        if self._path.exists():
            self._known()

    def _todo(self) -> list[tuple[int, Question]]:
        """The questions that are not answered, with their places; each once."""
        known, found = self._known(), []
        for index, question in enumerate(self._questions):
            if (question.id, question.text) not in known:
                found.append((index, question))
                known.add((question.id, question.text))
        return found

    def _known(self) -> set[tuple[Any, str]]:
        """What is answered, whole lines only."""
        data = read_bytes(self._path, MOST_BYTES)
        whole = data.rfind(b"\n") + 1
        known: set[tuple[Any, str]] = set()
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                values = json.loads(line)
                known.add((values["question_id"], values["prompt"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise FileError(
                    f"{self._path}, line {number} is not an answer: name another file."
                ) from None
        return known

    def fill(self, asker: Asker, folder: Path | None, status: Status) -> int:
        """Answer what is not answered yet; the number of questions that failed.

        Raises:
            FileError: another process fills the file.
            OSError: it cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        total, failed, position = len(self._questions), 0, 0
        with self._path.open("a+b", buffering=0) as file:
            self._take(file)
            todo = self._todo()
            if len(todo) < total:
                status.say(f"{self._path} answers {total - len(todo)} of {total} questions already")
            status.start("asking")
            for image, group in groupby(todo, key=lambda task: task[1].image):
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
                            self._append(file, _line(question, answer, asker.liquid.name))
                    position += len(batch)
                    status.progress(str(self._path), position, len(todo), "answers")
        status.say(f"{self._path}  {total - failed} of {total} questions answered")
        return failed

    def _take(self, file: FileIO) -> None:
        """Lock the file for as long as it is open; take off a last line that was cut short."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(f"Another process is writing {self._path}: wait for it.") from None
        except OSError:
            pass  # some network drives have no locks
        file.seek(0)
        file.truncate(file.readall().rfind(b"\n") + 1)

    def _append(self, file: FileIO, line: bytes) -> None:
        """Write a line whole or not at all."""
        end = file.seek(0, os.SEEK_END)
        if file.write(line) != len(line):  # a full disk takes the beginning
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


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
    return (to_json(line) + "\n").encode()


def _inside(folder: Path | None, image: str) -> Path:
    """The file of a question's picture; a folder that was named is not left."""
    if folder is None:
        return Path(image)
    path = os.path.normpath(image)
    if os.path.isabs(path) or path.startswith(".."):
        raise ImageError(f"it is not inside {folder}.")
    return user_path(folder) / path
