"""A key-value cache whose rows come and go: they end together, and begin where they may."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from liquid_mlx.nn.cache import KVCache

ROOM = 128  # slots that are added at once


class RowCache(KVCache):
    """Rows of different lengths, aligned at their ends: row i begins at slot ``starts[i]``.

    Attention never sees the slots before a row's beginning, and positions count from it, so that
    every row is computed as it is alone. Tokens come one at a time, for all rows.
    """

    def __init__(self, layers: list[mx.array], offset: int, starts: Sequence[int]):
        super().__init__(layers, offset)
        self.starts = list(starts)
        self._starts = mx.array(self.starts)

    @classmethod
    def of(cls, rows: RowCache | None, kept: Sequence[int], joining: Sequence[KVCache]) -> RowCache:
        """The rows ``kept`` of a cache, in this order, and behind them one-row prefixes.

        Slots that no row needs any more are given back.
        """
        lengths = [cache.offset for cache in joining]
        if rows is not None:
            lengths = [rows.offset - rows.starts[row] for row in kept] + lengths
        longest = max(lengths)
        layers = []
        for layer in range(len((rows or joining[0]).layers)):
            parts = []
            for half in (0, 1):
                if rows is not None and kept:
                    places = mx.array(list(kept)) + half * rows.rows
                    first = max(0, rows.offset - longest)
                    parts.append(_aligned(rows.layers[layer][places], first, rows.offset, longest))
                for cache in joining:
                    one = cache.layers[layer][half : half + 1]
                    parts.append(_aligned(one, 0, cache.offset, longest))
            layers.append(mx.pad(mx.concatenate(parts), [(0, 0), (0, 0), (0, ROOM), (0, 0)]))
        return cls(layers, longest, [longest - length for length in lengths])

    def make_room(self) -> None:
        """See to it that the next token has a slot."""
        if self.offset == self.capacity:
            self.reserve(self.capacity + ROOM)

    def positions(self) -> mx.array:
        """The position of the next token of each row: int [rows]."""
        return self.offset - self._starts

    def visible(self, length: int, window: int | None = None) -> mx.array | None:
        """What the next token sees: None for all slots, or booleans [rows, 1, 1, slots]."""
        stop = self.offset + length
        cut = window is not None and stop > window
        if not cut and not any(self.starts):
            return None
        slots = mx.arange(stop)
        seen = slots >= self._starts[:, None, None, None]
        return seen & (slots >= stop - window) if cut and window is not None else seen


def _aligned(entries: mx.array, first: int, stop: int, length: int) -> mx.array:
    """Slots first to stop, moved to the end of ``length`` slots."""
    gap = length - (stop - first)
    return mx.pad(entries[:, :, first:stop], [(0, 0), (0, 0), (gap, 0), (0, 0)])
