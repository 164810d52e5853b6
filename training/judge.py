"""Reads a picture without any model: which things, where, on which ground.

The ground is the one of 18 that explains most pixels. What differs from it falls into connected
pieces; each piece takes the nearest colour and the best fitting drawn shape.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from training.world import CELL, COLOURS, GROUNDS, SHAPES, SPANS, STYLES, Scene, ground_rows, mask

DIFFERENT = 40.0  # RGB distance from which a pixel is not ground
SMALLEST_PIECE = 24  # pixels
WORST_FIT = 0.72  # intersection over union
_MARGIN = 3


@dataclass(frozen=True)
class Seen:
    """One piece of a picture. `shape` is "unclear" if nothing fits; `x`, `y` are its middle."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    fit: float


@dataclass(frozen=True)
class Reading:
    things: tuple[Seen, ...]
    ground: str
    style: str


@lru_cache(maxsize=1)
def _grounds() -> dict[tuple[str, str], np.ndarray]:
    return {(g, s): ground_rows(g, s)[:, None] for g in GROUNDS for s in STYLES}


@lru_cache(maxsize=1)
def _templates() -> dict[tuple[str, str], np.ndarray]:
    return {(shape, size): mask(shape, size) for shape in SHAPES for size in SPANS}


def _pieces(marked: np.ndarray) -> list[np.ndarray]:
    """The connected pieces (4 neighbours) of a bool array, each as a bool array."""
    labels = np.where(marked, np.arange(1, marked.size + 1).reshape(marked.shape), 0)
    while True:
        spread = labels.copy()
        for axis in (0, 1):
            for step in (1, -1):
                moved = np.roll(labels, step, axis)
                edge = [slice(None)] * 2
                edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
                moved[tuple(edge)] = 0
                spread = np.maximum(spread, moved)
        spread[~marked] = 0
        if (spread == labels).all():
            break
        labels = spread
    found, sizes = np.unique(labels[marked], return_counts=True)
    return [labels == label for label, n in zip(found, sizes, strict=True) if n >= SMALLEST_PIECE]


def _cover(pixels: np.ndarray, ground: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """How much of each pixel is the colour rather than the ground, 0..1."""
    way = colour - ground
    share = ((pixels - ground) * way).sum(-1) / np.maximum(np.square(way).sum(-1), 1.0)
    return share.clip(0, 1)


def _best_fit(cover: np.ndarray, piece: np.ndarray) -> tuple[float, str, str]:
    rows, columns = np.where(piece)
    middle_y, middle_x = (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2
    best = (0.0, "unclear", "small")
    padded = np.pad(cover, 32)
    for (shape, size), template in _templates().items():
        side = SPANS[size] * CELL
        for dy in range(-_MARGIN, _MARGIN + 1):
            for dx in range(-_MARGIN, _MARGIN + 1):
                y, x = round(middle_y - side / 2) + dy + 32, round(middle_x - side / 2) + dx + 32
                window = padded[y : y + side, x : x + side]
                both = np.minimum(window, template).sum()
                fit = both / (cover.sum() + template.sum() - both)
                best = max(best, (float(fit), shape, size))
    return best


def read(picture: np.ndarray) -> Reading:
    """What a picture uint8 [height, width, 3] shows."""
    pixels = picture.astype(np.float32)
    errors = {
        name: np.minimum(np.abs(pixels - rows).sum(-1), 60).mean()
        for name, rows in _grounds().items()
    }
    name = min(errors, key=errors.get)
    ground = np.broadcast_to(_grounds()[name], pixels.shape)
    away = np.sqrt(np.square(pixels - ground).sum(-1))
    colours = np.array(list(COLOURS.values()), dtype=np.float32)
    things = []
    for piece in _pieces(away > DIFFERENT):
        core = piece & (away >= np.quantile(away[piece], 0.5))
        mean = np.median(pixels[core], axis=0)
        number = int(np.square(colours - mean).sum(-1).argmin())
        near = piece.copy()
        for axis in (0, 1):  # the soft edge belongs to the piece
            near |= np.roll(piece, 1, axis) | np.roll(piece, -1, axis)
        cover = _cover(pixels, ground, colours[number]) * near
        fit, shape, size = _best_fit(cover, piece)
        rows, columns = np.where(piece)
        things.append(
            Seen(
                shape if fit >= WORST_FIT else "unclear",
                list(COLOURS)[number],
                size,
                (columns.min() + columns.max()) / 2,
                (rows.min() + rows.max()) / 2,
                fit,
            )
        )
    return Reading(tuple(things), *name)


def _apart(first: float, second: float) -> bool:
    return second - first > CELL


def arrangement_holds(scene: Scene, things: list[Seen]) -> bool:
    """Whether `things`, in the scene's order, stand as its layout says."""
    if scene.layout in ("beside", "row"):
        return all(_apart(a.x, b.x) for a, b in pairwise(things))
    if scene.layout == "stacked":
        return _apart(things[0].y, things[1].y)
    if scene.layout == "pair_above":
        return all(_apart(t.y, things[2].y) for t in things[:2])
    if scene.layout == "pair_below":
        return all(_apart(things[0].y, t.y) for t in things[1:])
    return True


def verdict(scene: Scene, picture: np.ndarray) -> dict[str, bool]:
    """Which facts of a fully stated scene the picture has right: count, colours, shapes, sizes,
    ground, style, relation, and `all` of them. Things are matched by colour and shape."""
    reading = read(picture)
    seen = list(reading.things)
    pairs = [(t.colour, t.shape) for t in seen]
    wanted = [t.pair for t in scene.things]
    matched = [seen[pairs.index(pair)] for pair in wanted if pair in pairs]
    whole = len(matched) == len(wanted) == len(seen)
    sizes_hold = whole and [t.size for t in matched] == [t.size for t in scene.things]
    facts = {
        "count": len(seen) == len(wanted),
        "colours": sorted(t.colour for t in seen) == sorted(c for c, _ in wanted),
        "shapes": sorted(t.shape for t in seen) == sorted(s for _, s in wanted),
        "pairs": whole,
        "sizes": sizes_hold,
        "ground": reading.ground == scene.ground,
        "style": reading.style == scene.style,
        "relation": whole and arrangement_holds(scene, matched),
    }
    facts["all"] = all(facts.values())
    return facts
