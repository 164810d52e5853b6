"""The contact sheet: many pictures as one, each with its seed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from liquid_mlx.files import atomic_write

CELL = 256  # pixels, the longer side of a picture on the sheet
_GAP, _LABEL = 8, 18


def contact_sheet(path: Path, pictures: Sequence[tuple[Path, int]]) -> None:
    """Write a PNG with the pictures (file, seed), row by row; nothing else of them is in it."""
    from PIL import Image, ImageDraw

    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width, height = columns * (CELL + _GAP) + _GAP, rows * (CELL + _LABEL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (file, seed) in enumerate(pictures):
        with Image.open(file) as picture:
            picture.load()
            scale = CELL / max(picture.size)
            size = round(picture.width * scale), round(picture.height * scale)
            small = picture.resize(size, Image.Resampling.LANCZOS)
        row, column = divmod(i, columns)
        x, y = _GAP + column * (CELL + _GAP), _GAP + row * (CELL + _LABEL + _GAP)
        sheet.paste(small, (x + (CELL - size[0]) // 2, y + (CELL - size[1]) // 2))
        pen.text((x, y + CELL + 2), str(seed), fill="black")
    file_bytes = io.BytesIO()
    sheet.save(file_bytes, "PNG")
    atomic_write(path, file_bytes.getvalue())
