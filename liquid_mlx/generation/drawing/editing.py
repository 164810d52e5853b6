"""What an edit keeps of a picture: its codes, row by row or by a mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from liquid_mlx.errors import ImageError, UsageError
from liquid_mlx.images import ImageSource, load_image, whiten
from liquid_mlx.params import integer


def given_codes(
    codes: np.ndarray, rows: int | None, mask: np.ndarray | ImageSource | None
) -> np.ndarray:
    """What stays of codes int [rows, columns]: int [positions], -1 where a code is drawn.

    Args:
        rows: how many rows from the top stay.
        mask: where codes are drawn instead: bool [rows, columns], or a picture in which what is
            white or transparent is drawn anew. A code is, if any of its pixels are.

    Raises:
        UsageError: neither rows nor mask is given, or both, or nothing is left to draw.
        SettingsError: rows is no number of the picture's rows.
        ImageError: the mask is not a picture, or not of the codes' shape.
    """
    if (rows is None) == (mask is None):
        raise UsageError("An edit needs rows to keep or a mask, and they cannot be combined.")
    if rows is not None:
        last = len(codes) - 1
        integer("rows", rows, 0, last, f"keep 0 to {last}, so that something is left to draw")
        drawn = np.repeat(np.arange(len(codes))[:, None] >= rows, codes.shape[1], axis=1)
    elif isinstance(mask, np.ndarray):
        if mask.dtype != bool or mask.shape != codes.shape:
            raise ImageError(f"A mask is bool {list(codes.shape)}, not {mask.dtype} {mask.shape}.")
        drawn = mask
    else:
        assert mask is not None
        drawn = _mask_cells(load_image(mask), codes.shape)
    if not drawn.any():
        raise UsageError("The mask leaves nothing to draw: make white what is to change.")
    return np.where(drawn, -1, codes).reshape(-1)


def kept_cells(given: np.ndarray, grid: tuple[int, int]) -> list[str]:
    """What an edited picture says of itself: a text for each row, 1 for a code that stayed."""
    return ["".join("01"[int(code >= 0)] for code in row) for row in given.reshape(grid)]


def _mask_cells(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """bool [rows, columns]: where a picture, stretched over the grid, is white or transparent."""
    rows, columns = shape
    white = np.asarray(whiten(image).convert("L")) >= 128
    y = np.arange(len(white)) * rows // len(white)
    x = np.arange(white.shape[1]) * columns // white.shape[1]
    cells = np.zeros((rows, columns), bool)
    ys, xs = np.nonzero(white)
    cells[y[ys], x[xs]] = True
    return cells


def fit_to(image: Image.Image, width: int, height: int) -> np.ndarray:
    """A picture's centre in this size: uint8 [height, width, 3]."""
    return np.array(ImageOps.fit(whiten(image), (width, height), Image.Resampling.LANCZOS))
