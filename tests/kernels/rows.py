"""Rows of logits of every kind that a sampler can meet, and settings to draw them with."""

import itertools

import mlx.core as mx
import numpy as np

KINDS = 8


def logits(rng, rows, n):
    """float32 [rows, n]: ordinary rows between ties, flat ones, -inf, NaN and huge values."""
    z = rng.normal(size=(rows, n)).astype(np.float32) * rng.uniform(0.3, 6)
    for i in range(rows):
        kind = (i + int(rng.integers(2))) % KINDS
        if kind == 1:
            z[i] = np.round(z[i])  # many ties, also across the k-th place and the top p's edge
        elif kind == 2:
            z[i] = 0.25
        elif kind == 3:
            z[i, rng.random(n) < 0.7] = -np.inf
        elif kind == 4:
            z[i, rng.random(n) < 0.1] = np.nan
        elif kind == 5:
            z[i, rng.integers(n)] = rng.choice([60.0, 3e4, np.inf])
        elif kind == 6:
            z[i, rng.permutation(n)[: max(1, n // 3)]] = z[i].max()
        elif kind == 7:
            z[i] = rng.choice([np.nan, -np.inf, np.inf, -0.0], p=[0.3, 0.3, 0.2, 0.2])
    return z


def batches(rng, n, rows, dtype):
    """-> (conditional, unconditional or None, noise, settings) for every top-k and top-p."""
    for top_k, top_p in itertools.product((0, 1, 40, n - 1, n, n + 7), (1, 0.999, 0.96, 0.5, 1e-6)):
        settings = {
            "guidance": float(rng.choice([0, 1, 1.5, 7, 20])),
            "temperature": float(
                rng.choice([0, 1e-6, 0.5, 0.99, 1, 2], p=[0.08, 0.04] + 4 * [0.22])
            ),
            "top_k": top_k,
            "top_p": top_p,
        }
        conditional = mx.array(logits(rng, rows, n)).astype(dtype)
        unconditional = mx.array(logits(rng, rows, n)).astype(dtype)
        if rng.random() < 0.2:
            unconditional = None
        noise = mx.array(rng.integers(1, 1 << 24, size=(rows, n)) / np.float32(1 << 24))
        yield conditional, unconditional, noise.astype(mx.float32), settings
