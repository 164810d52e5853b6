"""Sheets of labelled pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw

HEIGHT = 128
MOST = 240  # tiles


@dataclass(frozen=True)
class Tile:
    """A picture as a PNG file, and the words under it."""

    png: bytes
    text: str

    @classmethod
    def of(cls, pixels: np.ndarray, text: str) -> "Tile":
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return cls(file.getvalue(), text)

    def under(self, heading: str) -> "Tile":
        return replace(self, text=f"[{heading}] {self.text}")


def draw_sheet(tiles: Sequence[Tile], path: Path, columns: int = 10) -> None:
    """Write a PNG file of the pictures in rows, with their texts below them."""
    tiles = sorted(tiles, key=lambda tile: tile.text)[:MOST] if len(tiles) > MOST else tiles
    pictures = [Image.open(BytesIO(tile.png)) for tile in tiles]
    width, height = max(p.width for p in pictures) + 16, HEIGHT + 66
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        x, y = number % columns * width + 8, number // columns * height + 8
        sheet.paste(picture, (x, y))
        text = "\n".join(wrap(tile.text, width // 6)[:4])
        draw.multiline_text((x, y + HEIGHT + 2), text, "black", spacing=1)
    sheet.save(path, optimize=True)
