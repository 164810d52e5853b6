"""Joined projections apart: queries and keys rotated, each where attention wants to read it."""

from __future__ import annotations

import mlx.core as mx

from liquid_mlx.kernels.dispatch import Backend, best_backend, build, fitting_threads
from liquid_mlx.kernels.rotary_source import HEADER, SOURCE

THREADS = (32, 8, 1)


class Rotary:
    """Rotary positions, half-split (Su et al., arXiv 2104.09864), of one step for all its layers.

    Args:
        freqs: tokens per radian of each pair, float32 [D / 2].
        start: the position of the first new token: one for all rows, or one per row, int32 [B].
        rows, length: B rows with T new tokens each.
        dtype: of what will be rotated.
        backend: "metal", "cuda", "mlx", or None for the best there is.
    """

    def __init__(
        self,
        freqs: mx.array,
        start: int | mx.array,
        rows: int,
        length: int,
        dtype: mx.Dtype = mx.float32,
        backend: Backend | None = None,
    ):
        self._freqs, self._rows, self._length = freqs, rows, length
        chosen = best_backend(backend)
        self._kernel = chosen if chosen != "mlx" and _runs(chosen, freqs, dtype) else None
        if self._kernel:
            self._start = mx.array([start] * rows) if isinstance(start, int) else start
            return
        # Without a kernel sines and cosines are computed once, not in every layer.
        first = start[:, None, None, None] if isinstance(start, mx.array) else start
        angles = (first + mx.arange(length)[:, None]) / freqs
        cos, sin = mx.cos(angles), mx.sin(angles)
        self._same = mx.concatenate([cos, cos], -1)
        self._other = mx.concatenate([-sin, sin], -1)

    def __call__(self, joined: mx.array, heads: int, kv_heads: int) -> list[mx.array]:
        """Heads of queries (H), keys (K) and values (K), side by side: [B T, (H + 2 K) D].

        Returns:
            Queries [B, H, T, D], and what `KVCache.update` takes: keys and values [B, K, T, D], or
            both in one array [2 B, K, T, D]. Only the values are not rotated.
        """
        if self._kernel:
            return _launch(self._kernel, joined, self._start, self._freqs, heads, kv_heads)
        width = 2 * self._freqs.size
        if self._length == 1:
            apart = joined.reshape(self._rows, -1, 1, width)
        else:
            apart = joined.reshape(self._rows, self._length, -1, width).swapaxes(1, 2)
        rotating, values = mx.split(apart, [heads + kv_heads], axis=1)
        return [*mx.split(self._rotate(rotating), [heads], axis=1), values]

    def apart(self, queries: mx.array, keys: mx.array, values: mx.array) -> list[mx.array]:
        """The same of three arrays [B T, H D], [B T, K D] and [B T, K D].

        Joining them first would cost a backward pass three sums of zeros and slices.
        """
        width = 2 * self._freqs.size
        if self._kernel:
            heads, kv_heads = (each.shape[-1] // width for each in (queries, keys))
            return self(mx.concatenate([queries, keys, values], axis=-1), heads, kv_heads)
        shape = self._rows, self._length, -1, width
        q, k, v = (each.reshape(shape).swapaxes(1, 2) for each in (queries, keys, values))
        return [self._rotate(q), self._rotate(k), v]

    def _rotate(self, x: mx.array) -> mx.array:
        low, high = mx.split(x, 2, axis=-1)
        return (x * self._same + mx.concatenate([high, low], -1) * self._other).astype(x.dtype)


def _launch(
    backend: Backend,
    joined: mx.array,
    start: mx.array,
    freqs: mx.array,
    heads: int,
    kv_heads: int,
) -> list[mx.array]:
    rows, width = start.size, 2 * freqs.size
    length = len(joined) // rows
    kernel = build(
        backend,
        "rotate",
        ("joined", "start", "freqs"),
        ("queries", "entries"),
        SOURCE,
        HEADER,
    )
    return kernel(
        inputs=[joined, start, freqs],
        template=[("T", joined.dtype), ("HEADS", heads), ("KV_HEADS", kv_heads), ("WIDTH", width)],
        grid=(width // 2, heads + 2 * kv_heads, rows * length),
        threadgroup=THREADS,
        output_shapes=[(rows, heads, length, width), (2 * rows, kv_heads, length, width)],
        output_dtypes=[joined.dtype] * 2,
    )


def _runs(backend: Backend, freqs: mx.array, dtype: mx.Dtype) -> bool:
    """Whether this machine takes the kernel."""

    def launch(_threads: int) -> list[mx.array]:
        joined, start = mx.zeros((1, 6 * freqs.size), dtype), mx.zeros(1, mx.int32)
        return _launch(backend, joined, start, freqs, 1, 1)

    return fitting_threads(backend, f"rotate [{freqs.size}] {dtype}", 256, 256, launch) > 0
