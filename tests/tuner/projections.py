"""A few numbers that stand for a gradient; shared with the script that stored PyTorch's."""

from __future__ import annotations

import zlib

import numpy as np

COUNT = 16


def projections(name: str, gradient: np.ndarray) -> np.ndarray:
    """float64 [17]: the gradient's norm, and its products with 16 normal vectors of this name.

    The mean square of the products of a difference is the square of that difference's norm.
    """
    flat = gradient.reshape(-1).astype(np.float64)
    vectors = np.random.RandomState(zlib.crc32(name.encode())).standard_normal((COUNT, flat.size))
    return np.concatenate([[np.linalg.norm(flat)], vectors @ flat])
