"""Tables for people, lines for pipes, JSON for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from liquid_mlx.display import one_line, sentence, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

GAP = 2  # spaces between columns
MOST_FIELDS, MOST_NAME = 100, 60  # fields that are shown, and characters of their names


class Results:
    """Prints rows as they come: a table on a terminal, tab-separated in a pipe, or JSON.

    Args:
        columns: keys of a row, in order; the last one takes the room that is left.
        widths: the longest text of every column but the last.
        output: "json" (an array at the end, or one object if ``single``), "jsonl", or "text".
        single: there is one row.
    """

    def __init__(
        self, columns: Sequence[str], widths: Sequence[int], output: str, single: bool = False
    ):
        self.single = single
        self._columns = columns
        self._output = output
        self._rows: list[dict[str, Any]] = []
        self._widths: list[int] | None = None
        if output == "text" and not single and sys.stdout.isatty():
            share = _room() // (len(columns) + 1)  # the last column has two shares or more
            pairs = zip(columns, widths, strict=False)
            self._widths = [max(len(name), min(width, share)) for name, width in pairs]
            self._row([name.upper().replace("_", " ") for name in columns])

    def add(self, row: dict[str, Any]) -> None:
        """Take a row; one with an ``error`` is left out of text."""
        if self._output == "json":
            self._rows.append(row)
        elif self._output == "jsonl":
            print_json(row)
        elif "error" in row:
            return
        elif len(self._columns) == 1:
            print(str(row[self._columns[0]]), flush=True)
        else:
            self._row([one_line(_text(row.get(name, ""))) for name in self._columns])

    def _row(self, texts: list[str]) -> None:
        if self._widths is None:
            print("\t".join(texts), flush=True)
            return
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        for width in self._widths:
            line.add_column(width=width)
        line.add_column(overflow="fold")
        cells = [Text(text, no_wrap=True, overflow="ellipsis") for text in texts[:-1]]
        for cell, name, width in zip(cells, self._columns, self._widths, strict=False):
            if name == "picture" and cell.cell_len > width:  # the end of a path tells more
                cell.plain = _tail(cell.plain, width)
        line.add_row(*cells, Text(texts[-1]))
        _print(line)

    def end(self) -> None:
        """Print what waits for the end."""
        if self._output == "json":
            rows: Any = self._rows[0] if self.single and self._rows else self._rows
            print_json(rows, indent=2)


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value for a program, on one line unless ``indent`` is given."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(to_json(value, indent, ascii_only=not unicode), flush=True)


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Container[int] = ()
) -> None:
    """Print a table; its columns share a terminal's width, in a pipe nothing is cut or wrapped.

    Args:
        right: indices of the columns that are aligned to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(sentence(text)) for text in row))
    _print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names with their values, one a line; a long value wraps beside its name."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in islice(fields.items(), MOST_FIELDS):
        table.add_row(Text(sentence(name, MOST_NAME)), Text(sentence(value)))
    if len(fields) > MOST_FIELDS:
        table.add_row(Text("..."), Text(f"and {len(fields) - MOST_FIELDS} more: --json has all"))
    _print(table)


def gigabytes(size: int) -> str:
    """Bytes as people write them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _print(table: RenderableType) -> None:
    """Print a table without colours, and without the spaces that fill its last column."""
    from rich.console import Console

    console = Console(color_system=None, width=_room() if sys.stdout.isatty() else 1 << 16)
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), flush=True)


def _room() -> int:
    """Characters that a line of the terminal takes without wrapping."""
    return shutil.get_terminal_size().columns - 1


def _tail(text: str, width: int) -> str:
    """The end of a text that is too long, ``width`` cells wide."""
    from rich.cells import set_cell_size

    return "…" + set_cell_size(text[::-1], width - 1)[::-1].strip()


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
