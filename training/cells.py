"""What a code stands for: a plain tone of a background, or a piece of a shape in one colour.

The background behind a shape's edge is left out of its code on purpose. The decoder can see it in
the neighbouring cells, and so the codes of a thing are the same on every background: the language
model has fewer facts to learn, and the encoder has a clear task (see `models.local_encoder`).

Pieces come in two kinds: those that the code grid cuts out of the model's own shapes, exactly, and
typical ones of shapes that lie anywhere (`free_pieces`), so that what people show keeps its form.
Codes are numbered: tones, then piece after piece in each colour.
"""

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

FREE_PIECES = 232
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


def free_cells(number: int, seed: int, shape: str = "") -> np.ndarray:
    """Cells that `number` shapes anywhere cover at least a little, float32 [n, 16, 16]; of all
    shapes or of one."""
    rng, found = np.random.default_rng(seed), []
    side = 96
    for _ in range(number):
        length = rng.uniform(SMALLEST_SIDE, LARGEST_SIDE)
        x, y = side / 2 + rng.uniform(-CELL / 2, CELL / 2, 2)
        angle = 0.0 if rng.random() < 0.3 else rng.uniform(-15, 15)
        thing = FreeThing(shape or str(rng.choice(SHAPES)), "", x, y, length, angle)
        cut = cells_of(cover(thing, side, side)).reshape(-1, CELL, CELL)
        found.append(cut[cut.sum(axis=(1, 2)) >= 6])
    return np.concatenate(found)


def free_pieces(seed: int = 0) -> np.ndarray:
    """Typical cells of shapes that lie anywhere, float32 [FREE_PIECES, 16, 16]. Takes seconds."""
    seen = free_cells(5000, seed)
    uncut = seen[seen.mean(axis=(1, 2)) < 0.97].reshape(-1, CELL * CELL)
    means = MiniBatchKMeans(FREE_PIECES, random_state=seed, n_init=1, batch_size=4096).fit(uncut)
    return means.cluster_centers_.reshape(-1, CELL, CELL).astype(np.float32)


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
    return len(grid_pieces()[1]) + FREE_PIECES


def code_count() -> int:
    """How many codes there are: tones, then each piece in each colour."""
    return len(tone_codes()[1]) + piece_count() * len(COLOURS)


def piece_shapes(seed: int = 0) -> np.ndarray:
    """How often a piece is part of each shape, float32 [pieces, shapes]; rows sum to one."""
    index, masks = grid_pieces()
    counts = np.zeros((piece_count(), len(SHAPES)), dtype=np.float32)
    counts[0] = 1
    for (shape, _, _, _), piece in index.items():
        counts[piece, SHAPES.index(shape)] += piece > 0
    pieces = free_pieces(seed)
    for column, shape in enumerate(SHAPES):
        found = nearest_piece(free_cells(400, seed + 1, shape), pieces)
        counts[len(masks) :, column] += np.bincount(found, minlength=len(pieces))
    return counts / counts.sum(axis=1, keepdims=True).clip(min=1)


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


def nearest_piece(masks: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """The piece that looks most like each mask, int64 [n]."""
    flat, book = masks.reshape(len(masks), -1), pieces.reshape(len(pieces), -1)
    return ((book**2).sum(axis=1) - 2 * flat @ book.T).argmin(axis=1)


def grid_cells() -> tuple[np.ndarray, np.ndarray]:
    """Every cell that the model's own pictures can show: float32 [n, 16, 16, 3] in 0..255 and
    codes int64 [n]."""
    _, masks = grid_pieces()
    index, tones = tone_codes()
    fulls = np.array(list(COLOURS.values()), dtype=np.float32)
    shown = {code: tones[code] for code in index.values() if code < len(tones)}
    shown |= {len(tones) + i: tone for i, tone in enumerate(fulls)}
    patches, codes = [], []
    for code, tone in shown.items():
        tile = np.broadcast_to(tone, (CELL, CELL, 3))
        patches.append(tile[None])
        codes.append(np.array([code]))
        for number, colour in enumerate(fulls):
            own = list(BACKGROUNDS).index(list(COLOURS)[number])
            if code in (own, len(tones) + number):
                continue  # a red thing on red is never drawn
            patches.append(tile + masks[1:, :, :, None] * (colour - tile))
            codes.append(len(tones) + np.arange(1, len(masks)) * len(COLOURS) + number)
    return np.rint(np.concatenate(patches)), np.concatenate(codes)
