"""What a run shows: its log as JSONL, the loss as a curve, and a strip of previews."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.errors import FileError
from liquid_mlx.files import atomic_write, read_bytes
from liquid_mlx.tuner.trainer import Step

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT, MARGIN = 800, 400, 48
CODE, TEXT, VALID = (31, 119, 180), (255, 127, 14), (44, 160, 44)
LINES = {"code_loss": CODE, "text_loss": TEXT, "valid_loss": VALID}
CELL, GAP, LABEL, LEFT = 128, 4, 16, 64  # pixels of a preview, and of what stands around it
MOST_LOG, MOST_VALUE = 1 << 30, 1e30  # bytes of a log, and what its numbers stay below
MOST_ROWS = 24  # of a strip: of more, every other is left out


class Log:
    """A JSONL of what happened, one object a line; a resumed run cuts it to its own step."""

    def __init__(self, path: Path, step: int = 0):
        self._path = path
        self.rows = [row for row in _rows(path) if row["step"] <= step] if step else []
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        atomic_write(path, lines)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def step(self, step: Step, seconds: float) -> None:
        """A step, and how long it took."""
        self.add({**asdict(step), "seconds": round(seconds, 4)})

    def validation(self, step: int, losses: tuple[float | None, float | None]) -> None:
        """The losses of what is kept for validation, by kind, and their mean."""
        found = [loss for loss in losses if loss is not None]
        row = {"step": step, "valid_code_loss": losses[0], "valid_text_loss": losses[1]}
        self.add({**row, "valid_loss": sum(found) / max(len(found), 1)})


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that was cut short, or is none, is left out."""
    found = []
    try:
        lines = read_bytes(path, MOST_LOG).decode(errors="replace").splitlines()
    except FileError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        sound = isinstance(row, dict) and type(row.get("step")) is int
        if sound and all(map(_is_entry, row.values())):
            found.append(row)
    return found


def _is_entry(value: object) -> bool:
    """Whether it is what a log holds: a number, or that there is none."""
    return value is None or (isinstance(value, int | float) and abs(value) < MOST_VALUE)


def curve(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a PNG of the losses by step: codes, text and validation, each smoothed over 20."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    series = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name in LINES
    }
    smooth = {name: _smoothed(points, name) for name, points in series.items() if points}
    values = [value for points in smooth.values() for _, value in points]
    if values:
        last = max(max(step for step, _ in points) for points in smooth.values())
        top = max(values) * 1.05 or 1.0
        _axes(pen, last, top)
        for i, (name, points) in enumerate(smooth.items()):
            pixels = [_place(step, value, last, top) for step, value in points]
            pen.line(pixels if len(pixels) > 1 else pixels * 2, fill=LINES[name], width=2)
            words = f"{name.replace('_', ' ')}  {points[-1][1]:.3f}"
            pen.text((WIDTH - 220, MARGIN + 16 * i), words, fill=LINES[name])
    _write(path, sheet)


def _smoothed(points: Sequence[tuple[int, float]], name: str) -> list[tuple[int, float]]:
    if name == "valid_loss":
        return list(points)
    found, mean = [], points[0][1]
    for i, (step, value) in enumerate(points):
        mean += (value - mean) / min(i + 1, 20)
        found.append((step, mean))
    return found


def _place(step: int, value: float, last: int, top: float) -> tuple[float, float]:
    x = MARGIN + (WIDTH - 2 * MARGIN) * step / max(last, 1)
    return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * min(value, top) / top


def _axes(pen: Any, last: int, top: float) -> None:
    grey = (160, 160, 160)
    pen.line([(MARGIN, MARGIN), (MARGIN, HEIGHT - MARGIN), (WIDTH - MARGIN, HEIGHT - MARGIN)], grey)
    for part in (0.0, 0.5, 1.0):
        x, y = _place(round(last * part), top * part, last, top)
        pen.text((x - 8, HEIGHT - MARGIN + 6), str(round(last * part)), fill="black")
        pen.text((4, y - 6), f"{top * part:.2f}", fill="black")


def strip(path: Path, prompts: Sequence[str], rows: Sequence[tuple[int, Sequence[Path]]]) -> None:
    """Write a PNG of pictures of the same prompts at several steps: what was learned when.

    Args:
        rows: the step, and a file for each prompt.
    """
    from PIL import Image, ImageDraw

    while len(rows) > MOST_ROWS:
        rows = [*rows[:1], *rows[2::2]]
    width = LEFT + len(prompts) * (CELL + GAP)
    sheet = Image.new("RGB", (width, LABEL + len(rows) * (CELL + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, prompt in enumerate(prompts):
        words = prompt.encode("latin-1", "replace").decode("latin-1")[: CELL // 6]
        pen.text((LEFT + column * (CELL + GAP), 2), words, fill="black")
    for row, (step, files) in enumerate(rows):
        y = LABEL + row * (CELL + GAP)
        pen.text((GAP, y + CELL // 2), str(step), fill="black")
        for column, file in enumerate(files):
            with Image.open(file) as picture:
                small = picture.convert("RGB")
            small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(small, (LEFT + column * (CELL + GAP), y))
    _write(path, sheet)


def _write(path: Path, sheet: Image.Image) -> None:
    data = io.BytesIO()
    sheet.save(data, "PNG")
    atomic_write(path, data.getvalue())
