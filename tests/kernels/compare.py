"""Compares drawn ids with the numpy reference, row by row."""

import mlx.core as mx
import numpy as np

from tests.kernels import reference


def check_rows(ids, conditional, unconditional, noise, settings):
    """Assert that `ids` are the reference's; -> how many differ by a rounding that decided.

    float32 sums, exp and log differ in their last bits between implementations. An id that differs
    must be within those bits of the reference's decision, or this fails.
    """
    rest = {k: settings[k] for k in ("temperature", "top_k", "top_p")}
    arrays = [
        None if a is None else np.array(a.astype(mx.float32))
        for a in (conditional, unconditional, noise)
    ]
    differ = 0
    for row, found in enumerate(np.array(ids)):
        c, u, uniform = (None if a is None else a[row] for a in arrays)
        z = reference.guided(c, u, settings["guidance"], settings["temperature"])
        expected, close = reference.draw(z, uniform, **rest)
        if found != expected:
            assert close(int(found)), f"row {row}: {found}, not {expected}, with {settings}"
            differ += 1
    return differ
