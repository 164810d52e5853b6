"""Files of the user: read within bounds, written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.display import brief
from liquid_mlx.errors import CheckpointError, FileError, LiquidError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_JSON = 16_000_000
MAX_NAME, MAX_PATH = 255, 4096  # characters, as file systems have it
TMP = ".liquid-mlx-{}.tmp"
TMP_NAME = re.compile(re.escape(TMP).replace(r"\{\}", "[0-9a-f]{16}"))


def user_path(name: str | Path) -> Path:
    """A path as a user types it: ``~`` and ``~name`` at its beginning are home folders.

    What a folder or a file lists is no such path: there ``~`` is a letter like any other, as it is
    in a name that is nobody's home.

    Raises:
        FileError: it leads into the home of a user who is not known, or is no path.
    """
    path = as_path(name)
    found = Path(os.path.expanduser(path))
    within = path.parts[1:] or str(name).endswith("/")
    if found == path and within and path.parts[0].startswith("~"):
        home = path.parts[0]
        if not Path(home).exists():
            raise FileError(f"There is no home folder {home}: ./{home} is a folder of that name.")
    return found


def as_path(name: str | os.PathLike[str]) -> Path:
    """A path as code gives it, ``~`` a letter like any other; raises FileError if it is none."""
    try:
        text = os.fspath(name)
        if b"\0" not in os.fsencode(text) and isinstance(text, str):
            path = Path(text)
            if max(map(len, path.parts), default=0) <= MAX_NAME and len(text) <= MAX_PATH:
                return path
            raise FileError(f"{brief(text)} is longer than the path of a file can be.")
    except UnicodeEncodeError:
        raise FileError(
            f"{brief(name)} has a character that names of files do not have here: set LC_ALL="
            "C.UTF-8, or use another name."
        ) from None
    except TypeError:
        pass
    raise FileError(f"{brief(name)} is not the path of a file.")


def cache_folder() -> Path:
    """Where what can be made again is kept for the user."""
    found = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(found), "liquid-mlx")


def open_regular(path: Path, error: type[LiquidError] = FileError) -> BufferedReader:
    """Open a file to read. Pipes, which may hang, and devices, which never end, are errors.

    Raises:
        error: it is missing, cannot be opened, or is not a regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise error(f"There is no file {path}.") from None
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the name
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path} cannot be read ({reason}).") from None
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        raise error(f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}.")
    return os.fdopen(file, "rb")


def read_bytes(path: Path, limit: int, error: type[LiquidError] = FileError) -> bytes:
    """All of a regular file of at most ``limit`` bytes; raises ``error`` like `open_regular`."""
    try:
        with open_regular(path, error) as file:
            data = file.read(limit + 1)
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror}).") from None
    if len(data) > limit:
        raise error(f"{path} is too large: such a file has at most {limit / 1e6:g} MB.")
    return data


def read_json(path: Path, error: type[LiquidError] = FileError) -> dict[str, Any]:
    """A JSON object of at most ``MAX_JSON`` bytes, all of its numbers finite.

    Raises:
        error: the file is missing, cannot be read, or holds something else.
    """
    data = read_bytes(path, MAX_JSON, error)
    try:
        values = json.loads(data.decode(), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} cannot be read as JSON ({str(problem)[:200]}).") from None
    if not isinstance(values, dict):
        raise error(f"{path} does not hold a JSON object.")
    return values


def _finite(text: str) -> float:
    """A number of JSON; raises ValueError for NaN, Infinity and what is beyond a float."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def digest(path: Path) -> str:
    """A short name for a JSON file's content, or "" if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path, MAX_JSON)).hexdigest()[:12]
    except FileError:
        return ""


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model's folder; raises CheckpointError."""
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{folder} has no config.json: is this a model folder?")
    return read_json(folder / "config.json", CheckpointError)


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor -> name of the file beside the index that holds it, from a ``*.index.json``.

    Raises:
        CheckpointError: it cannot be read, has no weight_map, or names files elsewhere.
    """
    weight_map = read_json(index, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map.")
    for name in weight_map.values():
        plain = isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*", name)
        if not plain or len(name.encode()) > MAX_NAME:
            raise CheckpointError(
                f"{index} names {str(name)[:100]!r}, which is not a file's name or is outside its "
                "folder."
            )
    return weight_map


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Of a safetensors file: name -> dtype, shape and data_offsets, and where the data begin.

    Every tensor lies within the file and none shares bytes with another.

    Raises:
        CheckpointError: the file is missing, truncated, or its header is damaged.
    """
    try:
        with open_regular(path, CheckpointError) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_JSON):
                raise ValueError("truncated or not a safetensors file")
            header = json.loads(file.read(length).decode(), object_pairs_hook=unique_names)
        header.pop("__metadata__", None)
        end = 0
        places = [_place(name, entry) for name, entry in header.items()]
        for begin, stop, name in sorted(places):
            if begin < end:
                raise ValueError(f"{name} shares bytes with another tensor")
            end = stop
        if 8 + length + end > size:
            raise ValueError("it is truncated")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        reason = str(error)[:200]
        raise CheckpointError(f"{path} is damaged ({reason}): download it again.") from None
    return header, 8 + length


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    """(begin, end, short name) of one entry of a safetensors header."""
    shown = name[:100]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {shown}")
    for values, most in ((entry["shape"], 8), (entry["data_offsets"], 2)):
        if not isinstance(values, list) or len(values) > most:
            raise ValueError(f"the shape or place of {shown}")
        if not all(type(value) is int and 0 <= value < 2**63 for value in values):
            raise ValueError(f"the shape or place of {shown}")
    begin, end = entry["data_offsets"]
    if end < begin:
        raise ValueError(f"the place of {shown}")
    return begin, end, shown


@contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to fill, which takes its place if all goes well.

    What a killed process left in this folder is removed: a living one holds a lock on its files.

    Args:
        overwrite: False keeps what is at ``path`` by then, even if it has just appeared.

    Raises:
        OSError: the folder cannot be written, ``path`` is a folder, or a file that is kept.
    """
    remove_stale(path.parent.absolute())
    try:
        tmp, lock = _locked_tmp(path.parent)
        try:
            yield tmp
            if overwrite or not _linked(tmp, path):
                tmp.replace(path)
        finally:
            tmp.unlink(missing_ok=True)
            os.close(lock)
    except OSError as error:
        if not TMP_NAME.fullmatch(Path(str(error.filename)).name):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # the name that users know


def _locked_tmp(folder: Path) -> tuple[Path, int]:
    """A new file, and a descriptor that locks it for as long as this process lives."""
    while True:
        tmp = folder / TMP.format(secrets.token_hex(8))
        lock = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # some network drives have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return tmp, lock
        os.close(lock)  # another process took it for a stale one before it was locked


def _linked(tmp: Path, path: Path) -> bool:
    """Give a file its name unless that is taken; False where a drive has no links."""
    try:
        os.link(tmp, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        return False
    return True


@lru_cache
def remove_stale(folder: Path) -> None:
    """Remove temporary files and folders that no living process has locked; once for each folder.

    Args:
        folder: its absolute path.
    """
    for tmp in folder.glob(TMP.format("*")):
        if not TMP_NAME.fullmatch(tmp.name):
            continue
        with suppress(OSError):
            lock = os.open(tmp, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(lock).st_mode):
                    shutil.rmtree(tmp)
                else:
                    tmp.unlink()
            finally:
                os.close(lock)


def atomic_write(path: Path, data: bytes | str, overwrite: bool = True) -> None:
    """Write a file whole or not at all. Folders are made; raises OSError as `atomic_file` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, overwrite) as tmp:
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)


MAX_TOKENIZER = 64_000_000  # Gemma 3's, the largest of these families, has 33 MB
MAX_PARTS, MAX_TEXT = 2000, 100  # values of a tokenizer's steps, and characters of each
# What a tokenizer.json of these families (and a plain one) is made of.
_STEPS = {
    "normalizer": ("Sequence", "Replace", "Prepend", "NFC"),
    "pre_tokenizer": (
        *("Sequence", "Split", "ByteLevel", "Metaspace", "Whitespace", "WhitespaceSplit"),
    ),
    "post_processor": ("Sequence", "TemplateProcessing", "ByteLevel"),
    "decoder": ("Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel", "Metaspace"),
    "model": ("BPE", "WordLevel"),
}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_WORDS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# A pattern of one's own could take forever on a prompt.
_PATTERNS = (
    _CONTRACTIONS + r"\p{N}{1,3}" + _WORDS,  # Llama 3
    _CONTRACTIONS + r"\p{N}" + _WORDS,  # Qwen2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2
    r"▁?[A-Za-z]+|[0-9]|▁|\n|[^A-Za-z0-9▁\n]",  # the bundled demo
)


def read_tokenizer(path: Path) -> Tokenizer:
    """A ``tokenizer.json``, without padding and truncation.

    Raises:
        CheckpointError: it is missing, damaged, or does what no Liquid tokenizer does.
    """
    from tokenizers import Tokenizer

    data = read_bytes(path, MAX_TOKENIZER, CheckpointError)
    try:
        values = json.loads(data.decode(), object_pairs_hook=unique_names)
        for step, kinds in _STEPS.items():
            part = values.get(step)
            if step == "model":
                lists = ("vocab", "merges")
                part = {name: value for name, value in part.items() if name not in lists}
            _check_step(step, kinds, part)
        tokenizer = Tokenizer.from_buffer(data)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode("")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # the library raises bare Exception, and its panics are none
        reason = str(problem)[:200]
        raise CheckpointError(f"{path} is not a tokenizer ({reason}).") from None
    return tokenizer


def _check_step(step: str, kinds: tuple[str, ...], part: Any) -> None:
    """Raise ValueError unless a part of a tokenizer is made of known kinds and short values."""
    waiting, count = [part], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            if "type" in value and value["type"] not in kinds:
                raise ValueError(f"its {step} is {str(value['type'])[:50]}")
            pattern = value.get("Regex", _PATTERNS[0])
            if pattern not in _PATTERNS:
                raise ValueError(f"its {step} has the unknown pattern {str(pattern)[:100]!r}")
            waiting += [held for name, held in value.items() if name != "Regex"]
        elif isinstance(value, list):
            waiting += value
        elif (isinstance(value, str) and len(value) > MAX_TEXT) or count > MAX_PARTS:
            raise ValueError(f"its {step} is larger than any tokenizer's")


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: an object; raises ValueError if a name stands twice in it."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    return values
