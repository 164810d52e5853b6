"""Sets of prompts in their official layouts, with the file names that their scorers look for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.evaluation.records import need, read_any, read_jsonl, read_text
from liquid_mlx.files import user_path
from liquid_mlx.params import integer


@dataclass(frozen=True)
class Task:
    """A prompt and the files of its pictures, relative to the folder of the set.

    ``index`` is its place in the set, from which its seeds follow: whoever draws it, in whatever
    order, draws the same. With ``grid`` its pictures share one file, two a row. ``groups`` are the
    kinds of prompt that it counts for; ``beside`` are files to write next to the pictures.
    """

    index: int
    prompt: str
    files: tuple[str, ...]
    count: int = 1
    grid: bool = False
    groups: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)


def genai(path: Path, count: int = 1) -> list[Task]:
    """GenAI-Bench-527: ``prompts.txt``, drawn as ``00001.jpg``, as the reference's script does.

    Groups are those of ``genai_skills.json``, if it lies beside.
    """
    skills_file = user_path(path).with_name("genai_skills.json")
    skills = read_any(skills_file) if skills_file.exists() else {}
    if not isinstance(skills, dict) or not all(isinstance(n, list) for n in skills.values()):
        raise FileError(f"{skills_file} is not an object of skills, each with a list of numbers.")
    found = []
    for number, prompt in enumerate(read_text(path).strip().split("\n"), 1):
        groups = tuple(name for name, numbers in skills.items() if number in numbers)
        files = (f"{number:05}.jpg",)
        found.append(Task(number - 1, prompt.strip(), files, groups=groups))
    return found


def mjhq(path: Path, count: int = 1) -> list[Task]:
    """MJHQ-30K: ``meta_data.json``, drawn as ``CATEGORY/NAME.png``."""
    values = read_any(path)
    if not isinstance(values, dict):
        raise FileError(f"{path} is not MJHQ's object of names.")
    found = []
    for index, (name, value) in enumerate(values.items()):
        category, prompt = need(value, "category", "prompt", path=path, what=f"picture {name}")
        files = (f"{_plain(category, path)}/{_plain(name, path)}.png",)
        found.append(Task(index, str(prompt), files, groups=(category,)))
    return found


def geneval(path: Path, count: int = 4) -> list[Task]:
    """GenEval: ``evaluation_metadata.jsonl``, drawn as ``00000/samples/00000.png``."""
    found = []
    for index, row in enumerate(read_jsonl(path, "prompt")):
        files = tuple(f"{index:05}/samples/{j:05}.png" for j in range(count))
        groups = (str(row["tag"]),) if "tag" in row else ()
        beside = {f"{index:05}/metadata.jsonl": json.dumps(row)}
        found.append(Task(index, str(row["prompt"]), files, count, groups=groups, beside=beside))
    return found


def dpg(path: Path, count: int = 4) -> list[Task]:
    """DPG-Bench: a folder of ``NAME.txt``, drawn as ``NAME.png``: four pictures, two a row."""
    texts = sorted(user_path(path).glob("*.txt"))
    if not texts:
        raise FileError(f"{path} has no .txt files: name DPG-Bench's folder of prompts.")
    return [
        Task(index, read_text(text).strip(), (f"{text.stem}.png",), count, grid=True)
        for index, text in enumerate(texts)
    ]


def own(path: Path, count: int = 1) -> list[Task]:
    """Prompts of one's own, one a line, drawn as ``00001-0.png``."""
    prompts = [line.strip() for line in read_text(path).split("\n")]
    return [
        Task(index, prompt, tuple(f"{index + 1:05}-{j}.png" for j in range(count)), count)
        for index, prompt in enumerate(prompts)
        if prompt
    ]


SETS: dict[str, Callable[[Path, int], list[Task]]] = {
    "genai": genai,
    "mjhq": mjhq,
    "geneval": geneval,
    "dpg": dpg,
    "custom": own,
}
COUNTS = {"geneval": 4, "dpg": 4}  # pictures of a prompt, where it is not one
MOST_EACH = 1000
FIXED = ("genai", "mjhq")  # sets whose scorers take one


def read_set(name: str, path: Path, count: int | None = None) -> list[Task]:
    """The tasks of a set.

    Args:
        name: one of ``SETS``.
        path: the set's own file, or folder.
        count: pictures of each prompt; None is the set's own number.

    Raises:
        FileError: the file is missing or another, or has no prompt.
        SettingsError: ``count`` is out of range.
    """
    most = f"use 1 to {MOST_EACH}"
    each = integer("each", COUNTS.get(name, 1) if count is None else count, 1, MOST_EACH, most)
    tasks = SETS[name](path, each)
    if not tasks or not all(task.prompt for task in tasks):
        raise FileError(f"{path} has no prompts, or an empty one.")
    return tasks


def _plain(name: object, path: Path) -> str:
    """A name that stays inside its folder."""
    plain = isinstance(name, str) and name not in ("", "..") and "\0" not in name
    if not plain or PurePosixPath(str(name)).name != name:
        raise FileError(f"{path}: {str(name)[:50]!r} is not the name of a file.")
    return str(name)


def pictures(tasks: Sequence[Task]) -> int:
    """How many pictures they are."""
    return sum(task.count for task in tasks)


def settings_file(folder: Path) -> Path:
    """Beside a set's folder, where no scorer takes it for a picture."""
    folder = folder.resolve()  # "." and ".." have no name of their own
    return folder.with_name(f"{folder.name}.settings.json")


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a folder that is begun, or check that they are those it was begun with.

    Raises:
        FileError: they are others.
    """
    from liquid_mlx.files import atomic_write

    path = settings_file(folder)
    if not path.exists():
        atomic_write(path, json.dumps(dict(settings), indent=1) + "\n")
        return
    begun = read_any(path)
    for name, value in settings.items():
        if not isinstance(begun, dict) or begun.get(name) != value:
            before = begun.get(name) if isinstance(begun, dict) else None
            raise FileError(
                f"{folder} was begun with {name} {before}, not {value}: name another folder, or "
                f"remove {path.name} and the pictures."
            )
