"""The picture world: flat shapes on simple grounds, drawn with anti-aliasing.

Everything sits on the code grid of the VQGAN (cells of 8 pixels): a small thing fills two by two
cells, a large one three by three. So the grid cuts each shape in one way per size, and the codes
of a picture follow from what is in it and where.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

CELL = 8
ROWS = 8
COLUMNS = 8
WIDE_COLUMNS = 12

COLOURS = {
    "red": (222, 40, 44),
    "orange": (246, 140, 28),
    "yellow": (250, 222, 50),
    "green": (36, 158, 66),
    "cyan": (40, 196, 210),
    "blue": (38, 84, 222),
    "purple": (128, 46, 172),
    "pink": (246, 128, 184),
}
GROUNDS = {
    "white": (246, 246, 246),
    "gray": (152, 152, 152),
    "black": (24, 24, 24),
    "cream": (240, 224, 190),
    "navy": (20, 28, 78),
    "mint": (192, 236, 208),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
SPANS = {"small": 2, "large": 3}
STYLES = ("plain", "gradient", "striped")

# Never drawn in training: each colour once, each shape once or twice.
HELD_OUT_PAIRS = frozenset(
    {
        ("red", "star"),
        ("orange", "ring"),
        ("yellow", "heart"),
        ("green", "cross"),
        ("cyan", "triangle"),
        ("blue", "circle"),
        ("purple", "square"),
        ("pink", "star"),
    }
)


@dataclass(frozen=True)
class Thing:
    """One shape; `column` and `row` are the cell of its upper left corner."""

    shape: str
    colour: str
    size: str
    column: int
    row: int

    @property
    def span(self) -> int:
        """Cells along one side."""
        return SPANS[self.size]

    @property
    def pair(self) -> tuple[str, str]:
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `layout` tells how `things` (in reading order) are arranged:
    empty, one, beside (left, right), stacked (above, below), row (three, from left to right),
    pair_above (two over one) or pair_below (one over two).
    """

    layout: str
    things: tuple[Thing, ...]
    ground: str
    style: str
    columns: int = COLUMNS

    @property
    def width(self) -> int:
        return self.columns * CELL

    @property
    def height(self) -> int:
        return ROWS * CELL

    @property
    def has_held_out_pair(self) -> bool:
        return any(thing.pair in HELD_OUT_PAIRS for thing in self.things)

    @property
    def is_held_out(self) -> bool:
        """One combination of facts in seven is kept for testing, whatever the positions are."""
        facts = [(t.shape, t.colour, t.size if len(self.things) == 1 else "") for t in self.things]
        ground = (self.ground, self.style) if len(self.things) == 1 else ()
        digest = hashlib.blake2b(repr((sorted(facts), ground)).encode(), digest_size=4).digest()
        return bool(self.things) and int.from_bytes(digest, "big") % 7 == 0


def _outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a polygon in [-1, 1] x [-1, 1], y downwards."""
    if shape == "square":
        return [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]
    if shape == "triangle":
        return [(0.0, -0.95), (0.98, 0.85), (-0.98, 0.85)]
    if shape == "cross":
        a, b = 0.32, 0.94
        return [
            (-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
            (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a),
        ]  # fmt: skip
    if shape == "star":
        angles = np.pi * (np.arange(10) / 5 - 0.5)
        radii = np.where(np.arange(10) % 2 == 0, 1.02, 0.44)
        return list(zip(radii * np.cos(angles), radii * np.sin(angles) + 0.06, strict=True))
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        return list(zip(x / 17, (y - 2.5) / 15.5, strict=True))
    raise ValueError(shape)


@cache
def mask(shape: str, size: str) -> np.ndarray:
    """How much of each pixel the shape covers, float32 [side, side] in 0..1 (8x8 samples each)."""
    side, fine = SPANS[size] * CELL, 8
    picture = Image.new("L", (side * fine, side * fine))
    draw, half = ImageDraw.Draw(picture), side * fine / 2
    if shape in ("circle", "ring"):
        for radius, fill in ((0.96, 255), (0.52, 0))[: 1 if shape == "circle" else 2]:
            draw.ellipse([half * (1 - radius)] * 2 + [half * (1 + radius) - 1] * 2, fill=fill)
    else:
        draw.polygon([(half * (1 + x), half * (1 + y)) for x, y in _outline(shape)], fill=255)
    samples = np.asarray(picture, dtype=np.float32).reshape(side, fine, side, fine)
    return samples.mean(axis=(1, 3)) / 255


@cache
def ground_rows(ground: str, style: str) -> np.ndarray:
    """The colour of every pixel row, float32 [64, 3] in 0..255 (grounds vary downwards only)."""
    tone = np.array(GROUNDS[ground], dtype=np.float32)
    dark = tone.mean() < 100
    other = tone + 0.22 * (255 - tone) if dark else 0.8 * tone
    y = np.arange(ROWS * CELL, dtype=np.float32)[:, None]
    if style == "plain":
        share = np.zeros_like(y)
    elif style == "striped":
        share = (y // CELL) % 2
    else:
        share = y / (ROWS * CELL - 1)
    return tone + (other - tone) * share


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 [height, width, 3]."""
    rows = ground_rows(scene.ground, scene.style)
    pixels = np.repeat(rows[:, None], scene.width, axis=1)
    for thing in scene.things:
        y, x, side = thing.row * CELL, thing.column * CELL, thing.span * CELL
        cover = mask(thing.shape, thing.size)[..., None]
        box = pixels[y : y + side, x : x + side]
        box += cover * (np.array(COLOURS[thing.colour], dtype=np.float32) - box)
    return np.rint(pixels).astype(np.uint8)
