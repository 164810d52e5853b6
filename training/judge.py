"""Reads a picture without any model: which things, where, on which background, and how clean.

The background is the one that explains most pixels. What differs from it falls into connected
pieces; each takes the nearest colour, and the shape whose outline, drawn to the piece's own box,
covers it best. So a thing may have any size, stand anywhere and be turned a little.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from training.world import (
    BACKGROUNDS,
    CELL,
    COLOURS,
    SHAPES,
    SPANS,
    STYLES,
    FreeThing,
    Scene,
    background_rows,
    cover,
    outline,
)

DIFFERENT = 36.0  # RGB distance from which a pixel is not background
SMALLEST_PIECE = 60  # pixels
SMALLEST_PART = 16  # pixels of one colour, a pixel away from all others
WORST_FIT = 0.76  # intersection over union
SURE_FIT = 0.93  # no turned outline is tried above it
UNLIKE = 12.0  # mean RGB difference from which a background has no name
TURNS = (0, -10, -5, 5, 10)  # degrees
STEPS = tuple(product((-0.5, 0.5), (-0.5, 0.5), (-1.0, 0.0, 1.5, 3.0)))  # x, y, side: pixels
HALO = 6  # pixels around things that are no longer background
SPECK = 24  # levels
_PAD = 4
_LARGE = (SPANS["small"] + SPANS["large"]) / 2 * CELL
_TONES = np.array(list(COLOURS.values()), dtype=np.float32)


@dataclass(frozen=True)
class Seen:
    """One piece of a picture: `shape` is "unclear" if nothing fits; `x`, `y` (its middle) and
    `side` are pixels, `fit` is intersection over union, 0..1."""

    shape: str
    colour: str
    x: float
    y: float
    side: float
    fit: float

    @property
    def size(self) -> str:
        return "large" if self.side > _LARGE else "small"

    @property
    def pair(self) -> tuple[str, str]:
        return self.colour, self.shape


@dataclass(frozen=True)
class Reading:
    """`things` from left to right; `background` is "unclear" if no known one is near; `speck` is
    the largest difference from the background away from things, in levels 0..255."""

    things: tuple[Seen, ...]
    background: str
    style: str
    speck: float
    width: int
    height: int


@lru_cache(maxsize=4)
def _backgrounds(height: int) -> dict[tuple[str, str], np.ndarray]:
    return {(b, s): background_rows(b, s, height)[:, None] for b in BACKGROUNDS for s in STYLES}


@lru_cache(maxsize=len(SHAPES) * len(TURNS))
def _box(shape: str, turn: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of a turned outline, in halves of its side."""
    angle = np.deg2rad(turn)
    corners = np.array(outline(shape)) @ np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )
    left, top = corners.min(axis=0).tolist()
    width, height = np.ptp(corners, axis=0).tolist()
    return left, top, width, height


@lru_cache(maxsize=4096)
def _template(shape: str, turn: int, x: float, y: float, side: float, size: int) -> np.ndarray:
    return cover(FreeThing(shape, "", x, y, side, turn), size, size)


def _labels(marked: np.ndarray) -> np.ndarray:
    """Connected pieces (4 neighbours) of a bool array: int of the same shape, 0 is outside.

    The largest label of a run of marked pixels spreads over the run, in rows and columns in turn.
    """
    labels = np.where(marked, np.arange(1, marked.size + 1).reshape(marked.shape), 0)
    while True:
        before = labels
        for _ in range(2):
            labels, mask = labels.T, (labels.T > 0)
            edges = np.ones_like(mask)
            edges[:, 1:] = mask[:, 1:] != mask[:, :-1]
            starts = np.flatnonzero(edges)
            highest = np.maximum.reduceat(labels.ravel(), starts)
            lengths = np.diff(np.append(starts, labels.size))
            labels = np.repeat(highest, lengths).reshape(labels.shape)
        if (labels == before).all():
            return labels


def _pieces(marked: np.ndarray, least: int = SMALLEST_PIECE) -> list[np.ndarray]:
    """The connected pieces of at least so many pixels, each as a bool array."""
    labels = _labels(marked)
    found, sizes = np.unique(labels[marked], return_counts=True)
    return [labels == label for label, n in zip(found, sizes, strict=True) if n >= least]


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask with everything within a square of so many pixels around it."""
    for axis in (0, 1):
        padded = np.pad(mask, [(pixels, pixels) if a == axis else (0, 0) for a in (0, 1)])
        mask = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis).any(-1)
    return mask


def _shrunk(mask: np.ndarray, pixels: int) -> np.ndarray:
    return ~_grown(~mask, pixels)


def _nearest(pixels: np.ndarray, piece: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """The number of the nearest tone at each pixel of a piece, -1 elsewhere."""
    found = np.full(piece.shape, -1)
    found[piece] = np.square(pixels[piece][:, None] - tones).sum(-1).argmin(-1)
    return found


def _parts(pixels: np.ndarray, piece: np.ndarray) -> list[np.ndarray]:
    """A piece, or its parts if things of different colours touch in it."""
    nearest = _nearest(pixels, piece, _TONES)
    present = [
        n
        for n in np.unique(nearest[piece])
        if _shrunk(piece & (nearest == n), 1).sum() >= max(SMALLEST_PART, 0.04 * piece.sum())
    ]
    if len(present) < 2:
        return [piece]
    among = _nearest(pixels, piece, _TONES[present])
    return [p for n in range(len(present)) for p in _pieces(piece & (among == n))]


def _apart(piece: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Ways to cut a piece where it is thin, for things of one colour that touch."""
    for pixels in (1, 2, 3):
        cores = _pieces(_shrunk(piece, pixels), SMALLEST_PART)
        if len(cores) > 1:
            yield [_grown(core, pixels) & piece for core in cores]


class _Window:
    """A cover 0..1 cut to a piece's box, to which outlines are fitted. Pixels of `front` count
    neither way: what stands in front may hide what is behind."""

    def __init__(self, near: np.ndarray, front: np.ndarray):
        rows, columns = np.where(near >= 0.5)
        self._top, self._left = int(rows.min()), int(columns.min())
        self._height = int(rows.max()) + 1 - self._top
        self._width = int(columns.max()) + 1 - self._left
        self._size = max(self._height, self._width) + 2 * _PAD
        around = [(_PAD, self._size)] * 2
        cut = (slice(self._top, self._top + self._size), slice(self._left, self._left + self._size))
        self._cover, self._free = np.pad(near, around)[cut], ~np.pad(front, around)[cut]

    def fit(self, shape: str, turn: int, step: tuple[float, float, float] = (0, 0, 0)) -> tuple:
        """(fit, shape, x, y, side) of an outline drawn to the box, then moved and enlarged."""
        left, top, width, height = _box(shape, turn)
        side = self._width / width + self._height / height
        x = _PAD + self._width / 2 - (left + width / 2) * side / 2
        y = _PAD + self._height / 2 - (top + height / 2) * side / 2
        x, y, side = (round((v + d) * 2) / 2 for v, d in zip((x, y, side), step, strict=True))
        template = _template(shape, turn, x, y, side, self._size)
        both = np.minimum(self._cover, template)[self._free].sum()
        either = np.maximum(self._cover, template)[self._free].sum()
        return float(both / either), shape, self._left - _PAD + x, self._top - _PAD + y, side

    def best(self) -> tuple:
        """The best fit: upright ones first, turned ones and small steps only if need be."""
        if not 0.6 < self._width / self._height < 1.7:
            return self.fit(SHAPES[0], 0)
        found = {(shape, 0): self.fit(shape, 0) for shape in SHAPES}
        if max(found.values())[0] < SURE_FIT:
            found |= {way: self.fit(*way) for way in product(SHAPES, TURNS)}
        best = max(found.values())
        if best[0] < WORST_FIT:
            near = sorted(found, key=lambda way: -found[way][0])[:4]
            best = max(best, *(self.fit(*way, step) for way in near for step in STEPS))
        return best


def _see(pixels: np.ndarray, background: np.ndarray, piece: np.ndarray, others: list) -> Seen:
    """A piece as a thing, among the other pieces of the picture."""
    away = np.sqrt(np.square(pixels - background).sum(-1))
    core = piece & (away >= np.quantile(away[piece], 0.5))
    tone = np.median(pixels[core], axis=0)
    way = tone - background
    share = ((pixels - background) * way).sum(-1) / np.maximum(np.square(way).sum(-1), 1.0)
    taken = np.any([np.zeros_like(piece), *others], axis=0)
    near = share.clip(0, 1) * (_grown(piece, 1) & ~taken)  # the soft edge belongs to the piece
    if near.max() < 0.5:
        near = piece.astype(np.float32)
    front = [other for other in others if _extent(other) < _extent(piece)]
    front = np.any([np.zeros_like(piece), *front], axis=0)
    fit, shape, x, y, side = _Window(near, front).best()
    colour = list(COLOURS)[int(np.square(_TONES - tone).sum(-1).argmin())]
    return Seen(shape if fit >= WORST_FIT else "unclear", colour, x, y, side, fit)


def _extent(piece: np.ndarray) -> int:
    """Pixels of the box around a piece."""
    rows, columns = np.where(piece)
    return int(np.ptp(rows) + 1) * int(np.ptp(columns) + 1)


def _things(pixels: np.ndarray, background: np.ndarray, pieces: list) -> Iterator[Seen]:
    parts = [part for piece in pieces for part in _parts(pixels, piece)]
    for part in parts:
        others = [other for other in parts if other is not part]
        seen = _see(pixels, background, part, others)
        ways = _apart(part) if seen.shape == "unclear" else ()
        cuts = ([_see(pixels, background, piece, others) for piece in cut] for cut in ways)
        whole = (cut for cut in cuts if all(half.shape != "unclear" for half in cut))
        yield from next(whole, [seen])


def _fitted(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A background [height, 1, 3] with each of its tones as this picture has it."""
    near = np.abs(pixels - rows).sum(-1) < 90
    fitted = rows.copy()
    for tone in np.unique(rows[:, 0], axis=0):
        same = (rows == tone).all(-1)
        if (near & same).any():
            fitted[same[:, 0]] = np.median(pixels[near & same], axis=0)
    return fitted


def read(picture: np.ndarray) -> Reading:
    """What a picture uint8 [height, width, 3] shows."""
    pixels = picture.astype(np.float32)
    height, width = picture.shape[:2]
    known = _backgrounds(height)
    some = pixels[:, ::4]  # enough for the name
    name = min(known, key=lambda n: np.minimum(np.abs(some - known[n]).sum(-1), 60).mean())
    fitted = _fitted(pixels, known[name])
    background = np.broadcast_to(fitted, pixels.shape)
    marked = np.sqrt(np.square(pixels - background).sum(-1)) > DIFFERENT
    pieces = _pieces(marked)
    clear = ~_grown(np.any([np.zeros_like(marked), *pieces], axis=0), HALO)
    steps = np.abs(np.diff(fitted, axis=0)).sum(axis=(1, 2)) > 0
    clear[1:][steps] = clear[:-1][steps] = False  # a decoder may soften the edge of a stripe
    apart = np.abs(pixels - background).max(-1)[clear]
    unlike = np.abs(fitted - known[name]).mean() > UNLIKE
    return Reading(
        tuple(sorted(_things(pixels, background, pieces), key=lambda t: (t.x, t.y))),
        "unclear" if unlike else name[0],
        name[1],
        float(apart.max(initial=0)),
        width,
        height,
    )


def verdict(scene: Scene, picture: np.ndarray) -> dict[str, bool]:
    """Which facts of a fully stated scene the picture has right: count, colours, shapes, pairs,
    sizes, places (within half a cell), background, style, clean, and `all` of them."""
    reading = read(picture)
    seen = list(reading.things)
    wanted = [
        Seen(t.shape, t.colour, t.x * CELL, t.y * CELL, t.span * CELL, 1.0) for t in scene.things
    ]
    left, matched = list(seen), []
    for want in wanted:
        same = [t for t in left if t.pair == want.pair]
        if same:
            near = min(same, key=lambda t: (t.x - want.x) ** 2 + (t.y - want.y) ** 2)
            left.remove(near)
            matched.append((want, near))
    whole = len(matched) == len(wanted) == len(seen)
    facts = {
        "count": len(seen) == len(wanted),
        "colours": sorted(t.colour for t in seen) == sorted(t.colour for t in wanted),
        "shapes": sorted(t.shape for t in seen) == sorted(t.shape for t in wanted),
        "pairs": whole,
        "sizes": whole and all(a.size == b.size for a, b in matched),
        "places": whole
        and all(max(abs(a.x - b.x), abs(a.y - b.y)) <= CELL / 2 for a, b in matched),
        "background": reading.background == scene.background,
        "style": reading.style == scene.style,
        "clean": reading.speck <= SPECK,
    }
    facts["all"] = all(facts.values())
    return facts
