"""Results of many inputs: a table for people, lines for pipes, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from .terminal import clean, one_line


class Results:
    """Prints rows as they come: a table on a terminal, tab-separated in a pipe, or JSON.

    Args:
        columns: keys of a row, in order; the last one takes the room that is left.
        widths: the longest text of every column but the last.
        form: "json" (an array at the end, or one object if ``single``), "jsonl", or "text".
        single: there is one row.
    """

    def __init__(
        self, columns: Sequence[str], widths: Sequence[int], form: str, single: bool = False
    ):
        self._columns = columns
        self._form = form
        self._single = single
        self._rows: list[dict[str, Any]] = []
        self._widths: list[int] | None = None
        if form == "text" and not single and sys.stdout.isatty():
            room = shutil.get_terminal_size().columns // (len(columns) + 1)
            pairs = zip(columns, widths, strict=False)
            self._widths = [max(len(name), min(width, room)) for name, width in pairs]
            self._row([name.upper() for name in columns])

    def add(self, row: dict[str, Any]) -> None:
        """Take a row; one with an ``error`` is left out of text."""
        if self._form == "json":
            self._rows.append(row)
        elif self._form == "jsonl":
            print(json.dumps(row, ensure_ascii=False), flush=True)
        elif "error" in row:
            return
        elif len(self._columns) == 1:
            print(clean(str(row[self._columns[0]])), flush=True)
        else:
            self._row([one_line(_text(row.get(name, ""))) for name in self._columns])

    def _row(self, texts: list[str]) -> None:
        if self._widths is None:
            print("\t".join(texts), flush=True)
            return
        from rich.cells import cell_len, set_cell_size
        from rich.console import Console
        from rich.text import Text

        first = ""
        for name, text, width in zip(self._columns, texts, self._widths, strict=False):
            if cell_len(text) > width and name == "picture":  # the end of a path tells more
                text = "…" + set_cell_size(text[::-1], width - 1)[::-1].strip()
            elif cell_len(text) > width:
                text = set_cell_size(text, width - 1).strip() + "…"
            first += set_cell_size(text, width) + "  "
        room = max(shutil.get_terminal_size().columns - 1 - len(first), 16)
        lines = Text(texts[-1]).wrap(Console(width=room), room) or [Text()]
        for i, line in enumerate(lines):
            print((first if i == 0 else " " * len(first)) + line.plain.rstrip(), flush=True)

    def end(self) -> None:
        """Print what waits for the end."""
        if self._form == "json":
            rows: Any = self._rows[0] if self._single and self._rows else self._rows
            print(json.dumps(rows, ensure_ascii=False, indent=2))


def form(as_json: bool, as_jsonl: bool) -> str:
    """The form that ``--json`` and ``--jsonl`` ask for."""
    import typer

    if as_json and as_jsonl:
        raise typer.BadParameter("--json and --jsonl exclude each other.")
    return "json" if as_json else "jsonl" if as_jsonl else "text"


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
