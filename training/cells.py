"""What a code stands for: a plain tone of a background, or a piece of a shape in one colour.

The background behind a shape's edge is left out of its code on purpose. The decoder can see it in
the neighbouring cells, and so the codes of a thing are the same on every background: the language
model has fewer facts to learn, and the encoder has a clear task (see `models.encoder`).

Pieces come in two kinds: those that the code grid cuts out of the model's own shapes, exactly, and
typical ones of shapes that lie anywhere (`free_pieces`), so that what people show keeps its form.
A free piece belongs to one shape, though a piece of another may look alike: which it is the encoder
sees in the cells around, and so the language model need not.
Codes are numbered: tones, then piece after piece in each colour.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from training.world import (
    BACKGROUNDS,
    CELL,
    COLOURS,
    NEUTRALS,
    ROWS,
    SHAPES,
    SPANS,
    STYLES,
    FreeThing,
    Scene,
    cover,
    mask,
    stripe_tone,
)

FREE_PIECES = 40  # of each shape; the first is a whole cell
BAR = (122, 116, 104)  # what a picture is padded with to make it square
SMALLEST_SIDE, LARGEST_SIDE = 14, 68


@lru_cache(maxsize=1)
def grid_pieces() -> tuple[dict[tuple[str, str, int, int], int], np.ndarray]:
    """The pieces that the grid cuts shapes into; the first is a whole cell.

    Returns an index (shape, size, row, column) -> piece, without cells that hold less than two
    pixels of the shape, and the masks float32 [pieces, 16, 16]; pieces that look alike share one.
    """
    index, masks = {}, [np.ones((CELL, CELL), dtype=np.float32)]
    for shape in SHAPES:
        for size, span in SPANS.items():
            whole = mask(shape, size)
            for row in range(span):
                for column in range(span):
                    y, x = row * CELL, column * CELL
                    piece = whole[y : y + CELL, x : x + CELL]
                    if piece.sum() < 2:
                        continue
                    same = [i for i, m in enumerate(masks) if np.abs(m - piece).max() < 0.13]
                    if not same:
                        masks.append(piece)
                        same = [len(masks) - 1]
                    index[shape, size, row, column] = same[0]
    return index, np.stack(masks)


def cells_of(picture: np.ndarray) -> np.ndarray:
    """[H, W, ...] cut into [rows, columns, 16, 16, ...]."""
    height, width = picture.shape[0] // CELL, picture.shape[1] // CELL
    cut = picture.reshape(height, CELL, width, CELL, *picture.shape[2:])
    return cut.swapaxes(1, 2)


def free_cells(number: int, shape: str) -> np.ndarray:
    """Cells that a shape at `number` places covers at least a little, float32 [n, 16, 16]."""
    rng, found = np.random.default_rng(0), []
    side = 96
    for _ in range(number):
        length = rng.uniform(SMALLEST_SIDE, LARGEST_SIDE)
        x, y = side / 2 + rng.uniform(-CELL / 2, CELL / 2, 2)
        angle = 0.0 if rng.random() < 0.3 else rng.uniform(-15, 15)
        thing = FreeThing(shape, "", x, y, length, angle)
        cut = cells_of(cover(thing, side, side)).reshape(-1, CELL, CELL)
        found.append(cut[cut.sum(axis=(1, 2)) >= 6])
    return np.concatenate(found)


@lru_cache(maxsize=1)
def free_pieces() -> np.ndarray:
    """Typical cells of each shape where it lies anywhere, float32 [shapes, FREE_PIECES, 16, 16].

    Takes seconds.
    """
    found = []
    for shape in SHAPES:
        seen = free_cells(1500, shape)
        uncut = seen[seen.mean(axis=(1, 2)) < 0.97].reshape(-1, CELL * CELL)
        means = MiniBatchKMeans(FREE_PIECES - 1, random_state=0, n_init=1, batch_size=4096)
        centres = means.fit(uncut).cluster_centers_
        found.append(np.concatenate((np.ones((1, CELL * CELL)), centres)))
    return np.stack(found).reshape(len(SHAPES), -1, CELL, CELL).astype(np.float32)


def pieces() -> np.ndarray:
    """All pieces in the order of their codes, float32 [pieces, 16, 16]."""
    free = free_pieces().reshape(-1, CELL, CELL)
    return np.concatenate((grid_pieces()[1], free))


@lru_cache(maxsize=1)
def tone_codes() -> tuple[dict[tuple[str, str, int], int], np.ndarray]:
    """Cells without a shape: (background, style, row) -> code, and the tones [codes, 3].

    The second tone of a striped colour is that of its shapes, and has the code of a whole cell.
    """
    tones = [*BACKGROUNDS.values(), *(stripe_tone(name) for name in NEUTRALS), BAR]
    index = {}
    for number, name in enumerate(BACKGROUNDS):
        for style in STYLES:
            for row in range(ROWS):
                code = number
                if style == "striped" and row % 2:
                    if name in NEUTRALS:
                        code = len(BACKGROUNDS) + number
                    else:
                        code = len(tones) + list(COLOURS).index(name)
                index[name, style, row] = code
    return index, np.array(tones, dtype=np.float32)


def piece_count() -> int:
    return len(grid_pieces()[1]) + len(SHAPES) * FREE_PIECES


def code_count() -> int:
    """How many codes there are: tones, then each piece in each colour."""
    return len(tone_codes()[1]) + piece_count() * len(COLOURS)


def piece_shapes() -> np.ndarray:
    """How often a piece is part of each shape, float32 [pieces, shapes]; rows sum to one."""
    index, masks = grid_pieces()
    counts = np.zeros((len(masks), len(SHAPES)), dtype=np.float32)
    counts[0] = 1
    for (shape, _, _, _), piece in index.items():
        counts[piece, SHAPES.index(shape)] += piece > 0
    free = np.repeat(np.eye(len(SHAPES), dtype=np.float32), FREE_PIECES, axis=0)
    return np.concatenate((counts / counts.sum(axis=1, keepdims=True), free))


def scene_codes(scene: Scene) -> np.ndarray:
    """The codes of a scene's picture, int64 [8, columns]."""
    backgrounds, tones = tone_codes()
    index, _ = grid_pieces()
    codes = np.empty((ROWS, scene.columns), dtype=np.int64)
    for row in range(ROWS):
        codes[row] = backgrounds[scene.background, scene.style, row]
    colours = list(COLOURS)
    for thing in scene.things:
        for row in range(thing.span):
            for column in range(thing.span):
                piece = index.get((thing.shape, thing.size, row, column))
                if piece is not None:
                    code = len(tones) + piece * len(COLOURS) + colours.index(thing.colour)
                    codes[thing.row + row, thing.column + column] = code
    return codes


def nearest(masks: np.ndarray, book: np.ndarray) -> np.ndarray:
    """The place in `book` of what looks most like each mask, int64 [n]."""
    flat, known = masks.reshape(len(masks), -1), book.reshape(len(book), -1)
    return ((known**2).sum(axis=1) - 2 * flat @ known.T).argmin(axis=1)


@lru_cache(maxsize=len(SHAPES) + 1)
def _candidates(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """The pieces that a cell of a shape may be (of any if it is none of the world's), and their
    masks; the first stands for nothing at all."""
    parts = piece_shapes() > 0
    parts[0] = False  # a whole cell of the grid's has its like among the free ones
    known = np.flatnonzero(parts[:, SHAPES.index(shape)] if shape in SHAPES else parts.any(axis=1))
    masks = pieces()[known]
    return np.concatenate(([-1], known)), np.concatenate((0 * masks[:1], masks))


def seen_codes(
    covers: Sequence[np.ndarray], shapes: Sequence[str], colours: Sequence[str], ground: np.ndarray
) -> np.ndarray:
    """The codes that a picture of shapes anywhere should get, int64 [8, 8].

    Args:
        covers: how much of each pixel each of the things covers, float32 [128, 128] in 0..1.
        shapes: theirs; of one that is none of the world's, each cell gets the piece most like it.
        ground: the background alone, [128, 128, 3] in 0..255.
    """
    _, tones = tone_codes()
    fulls = np.array(list(COLOURS.values()), dtype=np.float32)
    even = cells_of(ground).reshape(ROWS, ROWS, -1, 3).mean(axis=2)
    known = np.concatenate((tones, fulls))
    codes = np.square(even[:, :, None] - known).sum(axis=-1).argmin(axis=-1)
    most = np.zeros((ROWS, ROWS))
    for covered, shape, colour in zip(covers, shapes, colours, strict=True):
        cut = cells_of(covered)
        amount = cut.sum(axis=(2, 3))
        candidates, masks = _candidates(shape)
        piece = candidates[nearest(cut.reshape(-1, CELL, CELL), masks)].reshape(ROWS, ROWS)
        here = (amount > most) & (piece >= 0)
        codes[here] = len(tones) + piece[here] * len(COLOURS) + list(COLOURS).index(colour)
        most = np.maximum(most, amount)
    return codes
