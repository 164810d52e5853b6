"""Pages of the documentation as programs: their commands and code run, with what they print.

A block of ``sh`` or ``python`` is run where it stands, in one folder for the page; the Python of
a page shares its names. A block of ``text`` right behind it is what it printed on stdout. A
comment ``<!-- not run: why -->`` before a block says that it cannot be run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/drawing.md",
    "docs/vqa.md",
    "docs/editing.md",
    "docs/settings.md",
    "docs/examples/gallery.md",
    "docs/examples/recipes.md",
    "examples/README.md",
)
_BLOCK = re.compile(
    r"^(?P<mark><!-- [^\n]* -->\n)?^```(?P<language>sh|python)\n(?P<code>.*?)^```\n"
    r"(?P<gap>\n?)(?:^```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
# Times and speeds are what a page may say otherwise than a run.
_TIMES = re.compile(r"\d+(\.\d+)?(?= (s|ms|min|tokens/s|GB)\b)|(?<=seconds\": )\d+(\.\d+)?")


@dataclass(frozen=True)
class Block:
    """A block of a page: what it runs, and what the page says that it prints (None: nothing)."""

    language: str
    code: str
    output: str | None
    line: int
    skipped: bool


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [_block(match, text) for match in _BLOCK.finditer(text)]


def _block(match: re.Match[str], text: str) -> Block:
    mark = match["mark"] or ""
    return Block(
        match["language"],
        match["code"],
        match["output"],
        text[: match.start("code")].count("\n"),
        mark.startswith(("<!-- not run", "<!-- draw", "<!-- test")),
    )


def rewritten(text: str, printed: Mapping[int, str]) -> str:
    """The page with the outputs that blocks, by their lines, have now.

    Where the page shows none, none is added.
    """

    def renew(match: re.Match[str]) -> str:
        block = _block(match, text)
        if block.output is None or block.line not in printed:
            return match[0]
        start, end = match.start("output") - match.start(), match.end("output") - match.start()
        return match[0][:start] + printed[block.line] + match[0][end:]

    return _BLOCK.sub(renew, text)


def same(shown: str, printed: str) -> bool:
    """Whether two outputs agree but for times and speeds."""
    return _TIMES.sub("0", shown) == _TIMES.sub("0", printed)


def prepare(folder: Path) -> None:
    """Put into a folder what the pages' commands name."""
    for name in ("examples", "liquid_mlx/demo"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(folder / "examples/pictures/red-circle.png", folder / "photo.jpg")


@contextlib.contextmanager
def web() -> Iterator[dict[str, str]]:
    """Variables with which every address of the web is a picture, without the network."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((ROOT / "examples/pictures/red-circle.png").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"http_proxy": f"http://127.0.0.1:{server.server_port}", "no_proxy": ""}
    finally:
        server.shutdown()
        server.server_close()


def run(text: str, folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page in a folder; each with what it printed on stdout.

    Raises:
        RuntimeError: a command failed; with its lines and what it said.
    """
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(text):
        if block.skipped:
            continue
        if block.language == "sh":
            yield block, shell(block, folder, variables)
        else:
            out = io.StringIO()
            with _within(folder), contextlib.redirect_stdout(out):
                exec(compile(block.code, f"line {block.line}", "exec"), names)  # noqa: S102 (our own pages)
            yield block, out.getvalue()


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def shell(block: Block, folder: Path, variables: Mapping[str, str]) -> str:
    """What a block of commands prints; RuntimeError if one fails."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("LIQUID_")}
    environment = {
        **here,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / ".hf"),
        **variables,
    }
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", block.code],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode or "Traceback" in done.stderr:
        raise RuntimeError(f"line {block.line}: {block.code}{done.stderr}")
    return done.stdout
