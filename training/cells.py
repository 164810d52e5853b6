"""What a code stands for: a piece of plain ground, or a piece of one shape in one colour.

The ground behind a shape's edge is left out of its code on purpose. The decoder can see it in the
neighbouring cells, and so the codes of a thing are the same on every ground: the language model
has fewer facts to learn, and the encoder has a clear task (see `train_vqgan`).
"""

from functools import lru_cache

import numpy as np

from training.world import (
    CELL,
    COLOURS,
    GROUNDS,
    ROWS,
    SHAPES,
    SPANS,
    Scene,
    ground_rows,
    mask,
)

FEATURES = 32
_MASK_FEATURES = 22


@lru_cache(maxsize=1)
def parts() -> tuple[dict[tuple[str, str, int, int], int], np.ndarray]:
    """The pieces that the grid cuts shapes into.

    Returns an index (shape, size, row, column) -> part, without cells that hold less than half a
    pixel of the shape, and the masks float32 [parts, 8, 8]; pieces that look alike share a part.
    """
    index, masks = {}, []
    for shape in SHAPES:
        for size, span in SPANS.items():
            whole = mask(shape, size)
            for row in range(span):
                for column in range(span):
                    y, x = row * CELL, column * CELL
                    piece = whole[y : y + CELL, x : x + CELL]
                    if piece.sum() < 0.5:
                        continue
                    same = [i for i, m in enumerate(masks) if np.abs(m - piece).max() < 0.13]
                    if not same:
                        masks.append(piece)
                        same = [len(masks) - 1]
                    index[shape, size, row, column] = same[0]
    return index, np.stack(masks)


@lru_cache(maxsize=1)
def ground_codes() -> tuple[dict[tuple[str, str, int], int], np.ndarray]:
    """The cells without a shape: (ground, style, row) -> code, and their tones [codes, 3]."""
    index, tones = {}, []
    for ground in GROUNDS:
        for style in ("plain", "striped", "gradient"):
            rows = ground_rows(ground, style).reshape(ROWS, CELL, 3).mean(axis=1)
            for row in range(ROWS):
                if style == "gradient" or (row < 2 and style == "striped"):
                    tones.append(rows[row])
                    index[ground, style, row] = len(tones) - 1
        for row in range(ROWS):
            index[ground, "striped", row] = index[ground, "striped", row % 2]
            index[ground, "plain", row] = index[ground, "striped", 0]
    return index, np.stack(tones)


def code_count() -> int:
    """How many codes there are: grounds, then each part in each colour."""
    return len(ground_codes()[1]) + len(parts()[1]) * len(COLOURS)


def scene_codes(scene: Scene) -> np.ndarray:
    """The codes of a scene's picture, int64 [8, columns]."""
    grounds, tones = ground_codes()
    index, _ = parts()
    codes = np.empty((ROWS, scene.columns), dtype=np.int64)
    for row in range(ROWS):
        codes[row] = grounds[scene.ground, scene.style, row]
    colours = list(COLOURS)
    for thing in scene.things:
        for row in range(thing.span):
            for column in range(thing.span):
                part = index.get((thing.shape, thing.size, row, column))
                if part is not None:
                    code = len(tones) + part * len(COLOURS) + colours.index(thing.colour)
                    codes[thing.row + row, thing.column + column] = code
    return codes


def codebook() -> np.ndarray:
    """Where the codes start in the quantizer's space, float32 [codes, 32].

    A part's mask in its principal components, the colour of the shape, the tone of the ground,
    and a bit that tells the two kinds apart: what a decoder needs, near where it can use it.
    """
    _, masks = parts()
    _, tones = ground_codes()
    flat = masks.reshape(len(masks), -1)
    axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:_MASK_FEATURES]
    shapes = (flat - flat.mean(axis=0)) @ axes.T / 2.5
    book = np.zeros((code_count(), FEATURES), dtype=np.float32)
    book[: len(tones), -7:-4] = 8 * (tones / 127.5 - 1)
    book[: len(tones), -1] = 2
    colours = 2 * (np.array(list(COLOURS.values()), dtype=np.float32) / 127.5 - 1)
    for part, shape in enumerate(shapes):
        for number, colour in enumerate(colours):
            row = book[len(tones) + part * len(COLOURS) + number]
            row[:_MASK_FEATURES], row[-4:-1], row[-1] = shape, colour, -2
    return book


def all_patches(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every cell that the world can show: float32 [n, 8, 8, 3] in 0..255 and codes int64 [n].

    Each part is drawn in each colour on each row of each ground; `rng` only shuffles.
    """
    _, masks = parts()
    grounds, tones = ground_codes()
    patches, codes = [], []
    colours = np.array(list(COLOURS.values()), dtype=np.float32)
    part_codes = len(tones) + np.arange(len(masks) * len(colours))
    seen = set()
    for (ground, style, row), code in grounds.items():
        if style != "gradient" and code in seen:
            continue
        seen.add(code)
        tile = ground_rows(ground, style).reshape(ROWS, CELL, 1, 3)[row]
        tile = np.broadcast_to(tile, (CELL, CELL, 3))
        patches.append(tile[None])
        codes.append(np.array([code]))
        cover = masks[:, None, :, :, None]
        drawn = tile + cover * (colours[None, :, None, None] - tile)
        patches.append(drawn.reshape(-1, CELL, CELL, 3))
        codes.append(part_codes)
    order = rng.permutation(sum(map(len, codes)))
    return np.rint(np.concatenate(patches))[order], np.concatenate(codes)[order]
