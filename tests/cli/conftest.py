"""A model, some pictures, and ways to run the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import liquid_mlx
from liquid_mlx.cli.main import app

LIQUID = str(Path(sys.executable).with_name("liquid"))
BUNDLED = Path(liquid_mlx.__file__).parent / "demo"
Run = Callable[..., Result]


@pytest.fixture(scope="session")
def model(converted: Callable[..., Path]) -> str:
    """The bundled model, or before it is there a small one with random weights."""
    return "demo" if (BUNDLED / "config.json").is_file() else str(converted("gemma_tiny"))


@pytest.fixture(autouse=True)
def _surroundings(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a folder of its own, a quiet terminal, and no Hub."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LIQUID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    if model != "demo":
        monkeypatch.setenv("LIQUID_MODEL", model)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("NO_COLOR", "TMUX", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run() -> Run:
    """``run(*arguments, input=None)``: the command line inside this process."""
    runner = CliRunner()

    def run(*arguments: object, input: str | bytes | None = None) -> Result:
        return runner.invoke(app, [str(a) for a in arguments], input=input, prog_name="liquid")

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three pictures and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("blue", (38, 84, 222)), ("green", (36, 158, 66)), ("red", (222, 40, 44))):
        picture = Image.new("RGB", (80, 60), colour)
        picture.paste((246, 246, 246), (20, 15, 60, 45))
        picture.save(folder / f"{name}.png")
    (folder / "notes.md").write_text("not a picture")
    return folder


def with_context(folder: Path, tokens: int) -> Path:
    """The converted folder, from now on with a context of so many tokens."""
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = tokens
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def liquid(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The installed command, as a process of its own."""
    command = [LIQUID, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


@dataclass
class Terminal:
    """What a process wrote to its terminal, and how it ended."""

    output: bytes
    code: int


def in_terminal(
    arguments: Sequence[object],
    columns: int = 80,
    environment: dict[str, str] | None = None,
    keys: Iterator[tuple[bytes, bytes]] = iter(()),
    seconds: float = 60,
) -> Terminal:
    """Run the installed command in a pseudo terminal.

    Args:
        keys: pairs (what to wait for in the output, what to type then).
    """
    import fcntl
    import struct
    import termios

    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    values = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
    for name in ("COLUMNS", "LINES"):
        values.pop(name, None)
    process = subprocess.Popen(
        [LIQUID, *map(str, arguments)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=values,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )
    os.close(inner)
    output, seen = b"", 0
    waiting = next(keys, None)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([outer], [], [], 0.1)[0]:
            try:
                piece = os.read(outer, 1 << 16)
            except OSError:
                break
            if not piece:
                break
            output += piece
        elif process.poll() is not None:
            break
        while waiting and (at := output.find(waiting[0], seen)) >= 0:
            seen = at + len(waiting[0])
            os.write(outer, waiting[1])
            waiting = next(keys, None)
    os.close(outer)
    try:
        code = process.wait(timeout=max(1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Terminal(output, code)


def screen(output: bytes) -> list[str]:
    """The lines that a terminal shows after this output: what was erased again is not there.

    Enough of a terminal for one status line above text: carriage return, newline, cursor up, and
    erasing a line.
    """
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output.decode()):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b["):
            if part.endswith("A"):
                row = max(0, row - int(part[2:-1] or 1))
            elif part.endswith("K"):
                lines[row] = "" if part == "\x1b[2K" else lines[row][:column]
        else:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + part + before[column + len(part) :]
            column += len(part)
    return lines
