"""Files of questions and answers in LLaVA's form, which VQA scripts read and write.

A question is ``{"question_id", "image", "text"}``, an answer ``{"question_id", "prompt", "text",
"answer_id", "model_id", "metadata"}``, one JSON object per line.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.display import to_json
from liquid_mlx.errors import DistributedError, FileError, ImageError
from liquid_mlx.files import atomic_write, read_bytes, user_path

from .asker import Asker, batches
from .outputs import read_lines
from .terminal import Status, about

if TYPE_CHECKING:
    from liquid_mlx.distributed.ranks import Team

MOST_BYTES = 1 << 30  # of a file of answers


@dataclass(frozen=True)
class Question:
    """One line of a file of questions."""

    id: int | str
    image: str
    text: str

    @property
    def key(self) -> Key:
        """What its answer is found by."""
        return self.id, self.text


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


Key = tuple[int | str, str]  # id and text of a question
Group = Sequence[tuple[int, Question]]  # questions about one image, with their places in the file


class Answers:
    """A file of answers that grows line by line, and is taken up where it was left.

    Of several processes each writes a file of its own beside it, ``NAME.rank-R``, which rank 0
    puts in its place at the end, in the order of the questions. Where that end did not come, the
    next run takes up those files, with any number of processes.
    """

    def __init__(self, path: Path, questions: list[Question], team: Team):
        """Look whether the file is one of answers; raises FileError if it is another."""
        self._path = user_path(path)
        self._questions = questions
        self._team = team
        self._parts = sorted(self._path.parent.glob(f"{glob.escape(self._path.name)}.rank-*"))
        self._known: dict[Key, str] = {}  # answered question -> its line
        own: list[tuple[Key, str]] = []
        with team.together():
            own = [pair for file in (self._path, *self._parts) for pair in _read(file)]
        for lines in team.gather(own):  # hosts may have a disk each
            self._learn(lines)

    def _learn(self, lines: Sequence[tuple[Key, str]]) -> None:
        for (number, text), line in lines:
            self._known.setdefault((number, text), line)

    def _todo(self) -> list[tuple[int, Question]]:
        """The questions that are not answered, with their places; each once."""
        found: dict[Key, tuple[int, Question]] = {}
        for index, question in enumerate(self._questions):
            if question.key not in self._known:
                found.setdefault(question.key, (index, question))
        return list(found.values())

    def fill(self, asker: Asker, folder: Path | None, status: Status) -> int:
        """Answer what is not answered yet; the number of questions that failed.

        Raises:
            FileError: another process fills the file.
            OSError: it cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part, total, failed = self._path, len(self._questions), 0
        if self._team.shares_work:
            part = part.with_name(f"{part.name}.rank-{self._team.rank}")
        elif not self._team.first:
            part = Path(os.devnull)  # rank 0 answers the same, and writes it
        elif self._parts:
            self._put_together()
        with part.open("a+b", buffering=0) as file:
            if part != Path(os.devnull):
                _take(file, part)
            if part == self._path:  # it may have grown before it was ours
                self._learn(_read(part))
            todo = self._todo()
            if len(todo) < total:
                status.say(f"{self._path} answers {total - len(todo)} of {total} questions already")
            status.start("asking")
            groups = [list(group) for _, group in groupby(todo, key=lambda task: task[1].image)]
            work = _Work(asker, folder, status, file, part, str(self._path))
            try:
                for row in self._team.each(groups, work.answer):
                    if row is None:
                        failed += 1
                    else:
                        number, text, line = row
                        self._known[number, text] = line
            except DistributedError as error:
                if error.shared:  # a rank failed, and all know: keep what the others did
                    self._put_together()
                raise
        if self._team.shares_work:
            self._put_together()
        elif self._team.first and list(self._known) != list(self._ordered()):
            self._write()  # what several processes had left had gaps
        status.say(f"{self._path}  {total - failed} of {total} questions answered")
        return failed

    def _put_together(self) -> None:
        """Write all that is known as one file; remove the parts."""
        if self._team.first:
            self._write()
        self._team.gather(None)  # the file is there
        for part in self._path.parent.glob(f"{glob.escape(self._path.name)}.rank-*"):
            part.unlink(missing_ok=True)

    def _write(self) -> None:
        atomic_write(self._path, "".join(self._ordered().values()))

    def _ordered(self) -> dict[Key, str]:
        """What is known in the order of the questions, behind what was not asked."""
        asked = dict.fromkeys(question.key for question in self._questions)
        others = {key: line for key, line in self._known.items() if key not in asked}
        return others | {key: self._known[key] for key in asked if key in self._known}


@dataclass(frozen=True)
class _Work:
    """One process's share of a file of questions."""

    asker: Asker
    folder: Path | None
    status: Status
    file: FileIO
    path: Path
    title: str

    def answer(self, groups: Sequence[tuple[int, Group]]) -> Iterator[tuple[int, Any]]:
        """Write an answer per question; yields (group, (id, text, line)), or None if it failed."""
        done, total = 0, sum(len(group) for _, group in groups)
        for number, group in groups:
            for batch in batches(group):
                tasks = [(index, question.text) for index, question in batch]
                image = batch[0][1].image
                try:
                    found = self.asker.ask_all(_inside(self.folder, image), tasks)
                except ImageError as error:
                    found = [{"error": error} for _ in batch]
                for (_, question), answer in zip(batch, found, strict=True):
                    if "error" in answer:
                        self.status.warn(f"question {question.id}: {about(image, answer['error'])}")
                        yield number, None
                    else:
                        line = _line(question, answer, self.asker.liquid.name)
                        _append(self.file, self.path, line.encode())
                        yield number, (*question.key, line)
                done += len(batch)
                self.status.progress(self.title, done, total, "answers")


def _read(path: Path) -> list[tuple[Key, str]]:
    """The answers in a file, if it is there; whole lines only."""
    if not path.exists():
        return []
    data = read_bytes(path, MOST_BYTES)
    found = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(keepends=True), 1):
        try:
            values = json.loads(line)
            found.append(((values["question_id"], values["prompt"]), line.decode()))
            hash(found[-1][0])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FileError(f"{path}, line {number} is not an answer: name another file.") from None
    return found


def _take(file: FileIO, path: Path) -> None:
    """Lock the file for as long as it is open; take off a last line that was cut short."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(f"Another process is writing {path}: wait for it.") from None
    except OSError:
        pass  # some network drives have no locks
    file.seek(0)
    file.truncate(file.readall().rfind(b"\n") + 1)


def _append(file: FileIO, path: Path, line: bytes) -> None:
    """Write a line whole or not at all."""
    end = file.seek(0, os.SEEK_END)
    if file.write(line) != len(line):  # a full disk takes the beginning
        file.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _line(question: Question, answer: dict[str, Any], model: str) -> str:
    """A line of a file of answers; the same answer of the same model has the same id."""
    line = {
        "question_id": question.id,
        "prompt": question.text,
        "text": answer["answer"],
        "answer_id": "",
        "model_id": Path(model).name,
        "metadata": {name: value for name, value in answer.items() if name != "answer"},
    }
    line["answer_id"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(line)).hex
    return to_json(line) + "\n"


def _inside(folder: Path | None, image: str) -> Path:
    """The file of a question's picture; a folder that was named is not left."""
    if folder is None:
        return Path(image)
    path = os.path.normpath(image)
    if os.path.isabs(path) or path.startswith(".."):
        raise ImageError(f"it is not inside {folder}.")
    return user_path(folder) / path
