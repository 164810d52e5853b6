"""The picture world: flat shapes on simple backgrounds, drawn with anti-aliasing.

What the model draws sits on the code grid of the VQGAN (cells of 16 pixels): a small thing fills
two by two cells, a large one three by three. So the grid cuts each shape in one way per size, and
the codes of a picture follow from what is in it and where. `render_free` draws shapes anywhere,
as people do who show the model a picture.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

CELL = 16
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
NEUTRALS = {
    "white": (246, 246, 246),
    "gray": (152, 152, 152),
    "black": (24, 24, 24),
    "cream": (240, 224, 190),
    "navy": (20, 28, 78),
    "mint": (192, 236, 208),
}
# A background is a little darker or lighter than a shape of that colour: one cell then tells
# which of the two it shows.
BACKGROUNDS = NEUTRALS | {
    "red": (172, 22, 32),
    "orange": (255, 178, 96),
    "yellow": (255, 240, 138),
    "green": (104, 190, 118),
    "cyan": (132, 224, 234),
    "blue": (112, 152, 242),
    "purple": (170, 110, 208),
    "pink": (253, 186, 216),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
SPANS = {"small": 2, "large": 3}
STYLES = ("plain", "striped")
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True)
class Thing:
    """One shape; `column` and `row` are the cell of its upper left corner."""

    shape: str
    colour: str
    size: str
    column: int = 0
    row: int = 0

    @property
    def span(self) -> int:
        """Cells along one side."""
        return SPANS[self.size]

    @property
    def pair(self) -> tuple[str, str]:
        return self.colour, self.shape

    @property
    def x(self) -> float:
        """The middle in cells from the left."""
        return self.column + self.span / 2

    @property
    def y(self) -> float:
        """The middle in cells from the top."""
        return self.row + self.span / 2

    def at(self, column: int, row: int) -> "Thing":
        return replace(self, column=column, row=row)


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `things` stand as `scenes.ARRANGEMENTS` says, in its order."""

    things: tuple[Thing, ...]
    background: str = "white"
    style: str = "plain"
    columns: int = COLUMNS
    arrangement: str = "one"

    @property
    def width(self) -> int:
        return self.columns * CELL

    @property
    def height(self) -> int:
        return ROWS * CELL


@dataclass(frozen=True)
class FreeThing:
    """A shape anywhere: its middle and the side of its box in pixels, and degrees of rotation."""

    shape: str
    colour: str
    x: float
    y: float
    side: float
    angle: float = 0.0


def outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a polygon in [-1, 1] x [-1, 1], y downwards."""
    if shape in ("circle", "ring"):
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        return list(zip(0.96 * np.cos(angles), 0.96 * np.sin(angles), strict=True))
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
        radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.44)
        return list(zip(radii * np.cos(angles), radii * np.sin(angles) + 0.05, strict=True))
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        return list(zip(x / 17, (y - 2.5) / 15.5, strict=True))
    raise ValueError(shape)


HOLE = 0.54  # radius of a ring's hole, as a share of the ring's


def cover_of(
    polygons: Iterable[tuple[np.ndarray, int]], width: int, height: int, samples: int = 4
) -> np.ndarray:
    """How much of each pixel polygons cover, float32 [height, width] in 0..1. Each is its corners
    in pixels, [n, 2], and 255, or 0 to take what it covers away again."""
    picture = Image.new("L", (width * samples, height * samples))
    draw = ImageDraw.Draw(picture)
    for corners, fill in polygons:
        # Pillow fills the pixels on the edge, too: half a pixel less keeps the size.
        draw.polygon([tuple(p) for p in (corners * samples - 0.5).tolist()], fill=fill)
    return np.asarray(picture.reduce(samples), dtype=np.float32) / 255


def cover(thing: FreeThing, width: int, height: int, samples: int = 4) -> np.ndarray:
    """How much of each pixel a shape covers, float32 [height, width] in 0..1."""
    turn, half = np.deg2rad(thing.angle), thing.side / 2
    corners = np.array(outline(thing.shape)) @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    rings = ((1.0, 255), (HOLE, 0))[: 2 if thing.shape == "ring" else 1]
    polygons = [(corners * half * scale + (thing.x, thing.y), fill) for scale, fill in rings]
    return cover_of(polygons, width, height, samples)


@cache
def mask(shape: str, size: str) -> np.ndarray:
    """A shape on the grid, float32 [side, side] in 0..1."""
    side = SPANS[size] * CELL
    return cover(FreeThing(shape, "", side / 2, side / 2, side), side, side, samples=8)


@cache
def stripe_tone(background: str) -> tuple[int, int, int]:
    """The second tone of a striped background; of a colour's, it is the tone of its shapes."""
    if background in COLOURS:
        return COLOURS[background]
    tone = np.array(NEUTRALS[background], dtype=np.float32)
    other = tone + 0.22 * (255 - tone) if tone.mean() < 100 else 0.8 * tone
    red, green, blue = np.rint(other).astype(int).tolist()
    return red, green, blue


def background_rows(background: str, style: str, height: int = ROWS * CELL) -> np.ndarray:
    """The colour of every pixel row, float32 [height, 3] in 0..255; stripes are a cell high."""
    rows = np.tile(np.array(BACKGROUNDS[background], dtype=np.float32), (height, 1))
    if style == "striped":
        rows[np.arange(height) // CELL % 2 == 1] = stripe_tone(background)
    return rows


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 [height, width, 3]."""
    rows = background_rows(scene.background, scene.style)
    pixels = np.repeat(rows[:, None], scene.width, axis=1)
    for thing in scene.things:
        y, x, side = thing.row * CELL, thing.column * CELL, thing.span * CELL
        box = pixels[y : y + side, x : x + side]
        colour = np.array(COLOURS[thing.colour], dtype=np.float32)
        box += mask(thing.shape, thing.size)[..., None] * (colour - box)
    return np.rint(pixels).astype(np.uint8)


def render_free(
    things: Iterable[FreeThing | tuple],
    background: str | tuple[int, int, int] = "white",
    style: str = "plain",
    size: tuple[int, int] = (COLUMNS * CELL, ROWS * CELL),
) -> np.ndarray:
    """Shapes anywhere, uint8 [height, width, 3].

    Args:
        things: `FreeThing`s, or tuples (shape, colour, x, y, side, angle) in pixels and degrees.
            A colour is a name or an RGB tuple, so is the background.
        size: width and height.
    """
    width, height = size
    if isinstance(background, str):
        rows = background_rows(background, style, height)
    else:
        rows = np.tile(np.array(background, dtype=np.float32), (height, 1))
    pixels = np.repeat(rows[:, None], width, axis=1)
    for thing in things:
        free = thing if isinstance(thing, FreeThing) else FreeThing(*thing)
        tone = COLOURS[free.colour] if isinstance(free.colour, str) else free.colour
        colour = np.array(tone, dtype=np.float32)
        pixels += cover(free, width, height)[..., None] * (colour - pixels)
    return np.rint(pixels).astype(np.uint8)
