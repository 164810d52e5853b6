"""Where results go: names from patterns, nothing overwritten unasked, nothing half-written."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from liquid_mlx.errors import FileError
from liquid_mlx.files import read_bytes, user_path

from .terminal import Status
from .together import refuse_stdin

DEFAULT_NAME = "{prompt}-{seed}.png"
_NAME_BYTES = 100
MOST_BYTES, MOST_LINES = 1 << 27, 1 << 20  # of a file of prompts, questions or pairs


def slug(prompt: str) -> str:
    """A prompt as a part of a file name: letters, digits and hyphens, 100 bytes at the most."""
    words = re.sub(r"[\W_]+", "-", prompt).strip("-")
    cut = words.encode()[:_NAME_BYTES].decode(errors="ignore").strip("-")
    return cut or "picture"


def pattern_of(name: str) -> str:
    """The pattern of file names that a name asks for: a folder takes the default one."""
    path = user_path(name)
    return str(path / DEFAULT_NAME if name.endswith(("/", os.sep)) or path.is_dir() else path)


def picture_paths(pattern: str, pictures: Sequence[tuple[str, int]]) -> list[Path]:
    """A file for each picture (prompt, seed), in order.

    ``{seed}``, ``{index}`` (from 1) and ``{prompt}`` in the pattern are filled in; a folder takes
    ``{prompt}-{seed}.png``. Pictures that would share a name have ``-1``, ``-2`` ... added.

    Raises:
        FileError: the pattern names another kind of file than PNG.
    """
    pattern = pattern_of(pattern)
    suffix = Path(pattern).suffix
    if suffix.lower() != ".png":
        raise FileError(f"{pattern}: images are written as PNG; give a name that ends in .png.")
    names = [
        pattern.replace("{seed}", str(seed))
        .replace("{index}", str(index))
        .replace("{prompt}", slug(prompt))
        for index, (prompt, seed) in enumerate(pictures, 1)
    ]
    if len(set(names)) < len(names):
        stems = [name[: -len(suffix)] for name in names]
        names = [f"{stem}-{index}{suffix}" for index, stem in enumerate(stems, 1)]
    return [Path(name) for name in names]


def check_free(paths: Iterable[Path], overwrite: bool) -> None:
    """Raise FileError for the first path that exists already, unless it may be overwritten."""
    for path in paths:
        if path.is_dir():
            raise FileError(f"{path} is a folder: give the name of a file.")
        if path.exists() and not overwrite:
            raise FileError(
                f"{path} exists already: give another name ({free_name(path)} is free), or add "
                "--overwrite."
            )


def free_name(path: Path) -> Path:
    """The first of NAME-1, NAME-2, ... that does not exist."""
    names = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def open_files(paths: Sequence[Path], status: Status) -> None:
    """Show files in the desktop's own viewer (macOS: open; elsewhere xdg-open), if it has one."""
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    if shutil.which(opener) is None:
        status.say(f"--open needs the program {opener}, which is not here")
        return
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    groups = [paths] if opener == "open" else [[path] for path in paths]
    for group in groups:  # xdg-open takes one file; a full path cannot be read as an option
        command = [opener, *(str(path.absolute()) for path in group)]
        os.posix_spawnp(opener, command, os.environ, file_actions=silent)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not blank; ``-`` is stdin.

    Raises:
        FileError: it cannot be read, is not text, or has no line.
    """
    if str(path) == "-":
        refuse_stdin()
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            data = read_bytes(user_path(path), MOST_BYTES)
        if len(data) > MOST_BYTES:
            raise FileError(f"stdin is longer than {MOST_BYTES >> 20} MiB.")
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n", MOST_LINES)]
    except UnicodeDecodeError:
        raise FileError(f"{_named(path)} is not UTF-8 text.") from None
    lines = [line for line in lines if line]
    if not lines:
        raise FileError(f"{_named(path)} is empty: write one line for each.")
    if len(lines) > MOST_LINES:
        raise FileError(f"{_named(path)} has more than {MOST_LINES} lines: split it.")
    return lines


def _named(path: Path) -> str:
    return "stdin" if str(path) == "-" else str(path)
