"""Training data as people have it -> records, every one with the file and line it is from.

- a folder of pictures, each with its caption in a .txt of the same name;
- JSONL of codes and texts, as ``liquid encode`` and the reference's data preparation write it;
- JSON or JSONL of ``image_path`` and ``text``;
- LLaVA's conversations (``conversations``, human and gpt, ``<image>``), JSON or JSONL;
- mlx-lm's chat (``messages``), completions (``prompt``, ``completion``) and ``text`` JSONL;
- a folder of mlx-lm's ``train.jsonl`` and ``valid.jsonl`` of any of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.display import sentence
from liquid_mlx.errors import FileError, SettingsError
from liquid_mlx.files import read_bytes, user_path
from liquid_mlx.prompts import Message

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
MAX_FILE = 4 << 30
MAX_SHARE = 100.0
IMAGE, CODES = "<image>", "vqcode_"
_SIDE = re.compile("[0-9]{1,5}")
_LLAVA_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


@dataclass(frozen=True)
class Picture:
    """A picture of a record: a file, or its codes int32 [rows, columns]."""

    path: Path | None = None
    codes: np.ndarray | None = None


@dataclass(frozen=True)
class Record:
    """One line of training data. One of three kinds:

    - ``picture`` with ``text``: to be drawn, and described; ``text`` None is still to be written;
    - ``messages``: a conversation, whose pictures stand in ``shown`` by message;
    - ``text`` alone.
    """

    where: str
    text: str | None = None
    picture: Picture | None = None
    size: Size | None = None
    messages: Sequence[Message] = ()
    shown: Mapping[int, Picture] = field(default_factory=dict)

    def with_text(self, text: str) -> Record:
        return replace(self, text=text)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Source:
    """One ``--data``: its records, those kept for validation, and its share.

    ``share`` is how much of it an epoch sees: 0.3 of it, drawn anew each time, or all of it twice.
    """

    name: str
    share: float = 1.0
    records: list[Record] = field(default_factory=list)
    held_out: list[Record] = field(default_factory=list)


class WrongLineError(ValueError):
    """A line that is none of the known kinds; the text says why."""


def parse_share(text: str) -> tuple[str, float]:
    """``"b.jsonl:0.3"`` -> path and share; without one it is 1."""
    path, colon, number = text.rpartition(":")
    if not colon or user_path(text).exists():
        return text, 1.0
    try:
        share = float(number)
    except ValueError:
        return text, 1.0
    if not 0 < share <= MAX_SHARE:
        raise SettingsError(f"The share of {path} is {number[:40]}: use a number above 0 to 100.")
    return path, share


def read_source(
    text: str, config: LiquidConfig, image_folder: Path | None = None, captions: bool = False
) -> tuple[Source, list[Problem]]:
    """Read one ``--data``: records, and a problem for each line that is none.

    Args:
        text: a folder or file, with ``:SHARE`` behind it if it is not 1.
        config: knows how many codes a picture has.
        image_folder: where relative names of pictures start; None is the file's own folder.
        captions: pictures may lack their .txt: their text is None.

    Raises:
        FileError: there is no such folder or file, or it cannot be read.
        SettingsError: the share is out of range.
    """
    name, share = parse_share(text)
    path = user_path(name)
    source = Source(name, share)
    if not path.exists():
        raise FileError(f"There is no training data {name!r}: give a folder or a file.")
    if path.is_dir() and (path / "train.jsonl").is_file():
        problems = _read_file(path / "train.jsonl", source.records, config, image_folder)
        if (path / "valid.jsonl").is_file():
            problems += _read_file(path / "valid.jsonl", source.held_out, config, image_folder)
    elif path.is_dir():
        problems = _read_folder(path, source.records, captions)
    else:
        problems = _read_file(path, source.records, config, image_folder)
    return source, problems


def _read_folder(folder: Path, records: list[Record], captions: bool) -> list[Problem]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        raise FileError(f"{folder} has neither pictures nor a train.jsonl.")
    problems = []
    for path in files:
        text, caption = None, path.with_suffix(".txt")
        if caption.is_file():
            try:
                text = read_bytes(caption, 1 << 20).decode("utf-8-sig").strip()
            except UnicodeDecodeError:
                problems.append(Problem(str(caption), "it is not UTF-8 text"))
                continue
            if not text:
                problems.append(Problem(str(caption), "it is empty: write what the picture shows"))
                continue
        elif not captions:
            what = f"it has no {caption.name} beside it: write one, or use --captions auto"
            problems.append(Problem(str(path), what))
            continue
        records.append(Record(str(path), text, Picture(path)))
    return problems


def _read_file(
    path: Path, records: list[Record], config: LiquidConfig, image_folder: Path | None
) -> list[Problem]:
    try:
        text = read_bytes(path, MAX_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{path} is not UTF-8 text.") from None
    folder = user_path(image_folder) if image_folder else path.parent
    problems = []
    lines = _entries(path, text)
    if not lines:
        raise FileError(f"{path} has no line of training data.")
    for where, line in lines:
        try:
            records.append(_record(where, line, config, folder))
        except WrongLineError as error:
            problems.append(Problem(where, sentence(str(error))))
    return problems


def _entries(path: Path, text: str) -> list[tuple[str, Any]]:
    """(where, JSON value or line) of every entry: a line each, or one list of all."""
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path} cannot be read as JSON ({str(error)[:100]}).") from None
        return [(f"{path}, entry {i}", value) for i, value in enumerate(values, 1)]
    lines = enumerate(text.split("\n"), 1)
    return [(f"{path}, line {i}", line) for i, line in lines if line.strip()]


def _record(where: str, entry: Any, config: LiquidConfig, folder: Path) -> Record:
    """A record from a line; raises WrongLineError."""
    if isinstance(entry, str):
        try:
            entry = json.loads(entry)
        except (ValueError, RecursionError) as error:
            raise WrongLineError(f"it is not JSON ({str(error)[:100]})") from None
    if not isinstance(entry, dict):
        raise WrongLineError("it is not a JSON object")
    for key, read in _KINDS:
        if key in entry or (key == CODES and any(name.startswith(CODES) for name in entry)):
            return read(where, entry, config, folder)
    raise WrongLineError(
        "it has none of the fields vqcode_SIZE, conversations, messages, prompt, image_path, text"
    )


def _codes(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    """A line of ``liquid encode``, or of the reference's data preparation."""
    found = [
        (name, value) for name, value in entry.items() if name.startswith(CODES) and value != "no"
    ]
    if len(found) != 1:
        raise WrongLineError(f"it has {len(found)} lists of codes: one vqcode_SIZE is needed")
    name, value = found[0]
    if name.startswith("vqcode_multi"):
        sides = [entry.get("width"), entry.get("height")]
    else:
        sides = [name.removeprefix(CODES)] * 2
    width, height = (int(side) if _SIDE.fullmatch(side) else 0 for side in map(str, sides))
    if not (0 < width < 1 << 15 and 0 < height < 1 << 15):
        raise WrongLineError(f"its {name} has no width and height in pixels")
    size = Size(width, height)
    if size not in config.sizes:
        known = ", ".join(map(str, config.sizes))
        raise WrongLineError(f"its picture has {size} pixels, and the model draws {known}")
    try:
        codes = np.array(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        codes = np.array([])
    grid = config.grid(size)
    if codes.dtype.kind not in "iu" or codes.shape != (grid[0] * grid[1],):
        raise WrongLineError(f"its {name} is not a list of {grid[0] * grid[1]} codes")
    if codes.min() < 0 or codes.max() >= config.vqgan.n_embed:
        raise WrongLineError(f"its codes are not all 0 to {config.vqgan.n_embed - 1}")
    picture = Picture(codes=codes.astype(np.int32).reshape(grid))
    return Record(where, _string(entry, "text"), picture, size)


def _pair(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    key = "text" if "text" in entry else "text_prompt"
    text = _string(entry, key)
    return Record(where, text, _file(folder, _string(entry, "image_path")))


def _llava(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    turns = entry["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise WrongLineError("its conversations are not a list of objects")
    names = entry.get("image") or []
    if not isinstance(names, str | list):
        raise WrongLineError("its image is neither a name nor a list of names")
    files = [_file(folder, name) for name in ([names] if isinstance(names, str) else names)]
    messages, shown = [], {}
    for i, turn in enumerate(turns):
        role = _LLAVA_ROLES.get(str(turn.get("from")), "")
        text = _string(turn, "value")
        if IMAGE in text:
            if role != "user" or text.count(IMAGE) > 1 or not files:
                raise WrongLineError(f"its {IMAGE} in turn {i + 1} does not belong to a picture")
            shown[i] = files.pop(0)
            text = text.replace(IMAGE, "").strip()
            if not text:
                raise WrongLineError(f"turn {i + 1} asks nothing about its picture")
        messages.append({"role": role, "content": text})
    if files and not shown and messages:  # some files have the picture, and not its mark
        shown[0] = files.pop(0)
    if files:
        raise WrongLineError(f"{len(files)} of its pictures have no {IMAGE} in the text")
    return _conversation(where, messages, shown)


def _chat(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    turns = entry["messages"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise WrongLineError("its messages are not a list of objects")
    messages = [{"role": turn.get("role"), "content": _string(turn, "content")} for turn in turns]
    if len(messages) > 1 and messages[0]["role"] == "system":  # as Gemma is told: in the first turn
        system = messages.pop(0)["content"]
        messages[0] = {**messages[0], "content": f"{system}\n\n{messages[0]['content']}"}
    return _conversation(where, messages, {})


def _completion(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    messages = [
        {"role": "user", "content": _string(entry, "prompt")},
        {"role": "assistant", "content": _string(entry, "completion")},
    ]
    return _conversation(where, messages, {})


def _text(where: str, entry: Mapping[str, Any], config: LiquidConfig, folder: Path) -> Record:
    return Record(where, _string(entry, "text"))


def _conversation(where: str, messages: Sequence[Message], shown: Mapping[int, Picture]) -> Record:
    roles = [message["role"] for message in messages]
    wanted = [("user", "assistant")[i % 2] for i in range(len(roles))]
    if len(roles) < 2 or roles != wanted or roles[-1] != "assistant":
        raise WrongLineError(
            "its turns are not user, assistant, user, assistant ..., and an answer last"
        )
    return Record(where, messages=messages, shown=shown)


def _string(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise WrongLineError(f"its {key} is not a text" if key in entry else f"it has no {key}")
    return value


def _file(folder: Path, name: Any) -> Picture:
    if not isinstance(name, str) or not name:
        raise WrongLineError("the name of its picture is not a text")
    path = folder / user_path(name)
    if not path.is_file():
        raise WrongLineError(f"its picture {name[:200]} is not there")
    return Picture(path)


_Reader = Callable[[str, Mapping[str, Any], LiquidConfig, Path], Record]
_KINDS: tuple[tuple[str, _Reader], ...] = (
    (CODES, _codes),
    ("conversations", _llava),
    ("messages", _chat),
    ("prompt", _completion),
    ("image_path", _pair),
    ("text", _text),
)
