"""Keys and values of the tokens that the backbone has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx

from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu

TURNS = 1 << 28  # bytes of a cache that is small enough to be kept twice


class KVCache:
    """Keys and values of every layer, allocated once: ``layers`` of [2 rows, heads, capacity, D].

    The first half are the keys of all rows, the second their values, so that a kernel can hand
    over both at once and attention reads either without a copy.

    Rows whose prompts are shorter than the longest have ``padding`` empty slots behind them, up
    to where all rows go on together. Attention never sees these, and positions do not count them.
    """

    def __init__(self, layers: list[mx.array], offset: int = 0):
        self.layers = layers
        self.offset = offset
        self.padding: mx.array | None = None
        self._end = 0  # of the empty slots
        self._filled: mx.array | None = None  # [rows, 1, 1, capacity]: the slots that are not empty
        self._turns = False
        self._others: dict[int, mx.array] = {}  # each layer as it was before the last update ...
        self._last: dict[int, tuple[int, tuple[mx.array, ...]]] = {}  # ... which was this

    def pad(self, padding: Sequence[int]) -> None:
        """Declare the last ``padding[i]`` slots of row i empty; once, with all room reserved."""
        if any(padding):
            self.padding, self._end = mx.array(list(padding)), self.offset
            slots = mx.arange(self.capacity)
            empty = (slots >= self._end - self.padding[:, None]) & (slots < self._end)
            self._filled = ~empty[:, None, None]

    @property
    def rows(self) -> int:
        return self.layers[0].shape[0] // 2

    @property
    def capacity(self) -> int:
        return self.layers[0].shape[2]

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @classmethod
    def empty(cls, config: BackboneConfig, rows: int, capacity: int, dtype: mx.Dtype) -> KVCache:
        """Room for ``capacity`` tokens of ``rows`` sequences."""
        shape = (2 * rows, config.num_key_value_heads, capacity, config.head_dim)
        return cls([mx.zeros(shape, dtype) for _ in range(config.num_hidden_layers)])

    @classmethod
    def joined(cls, prefixes: Sequence[KVCache], copies: int, capacity: int) -> KVCache:
        """Each one-row prefix ``copies`` times, with room up to capacity.

        ``capacity`` counts the slots of the longest prefix's rows. The order of rows is all
        copies of the first prefix, then all of the second, and so on.
        """
        length = max(prefix.offset for prefix in prefixes)

        def join(layer: int) -> mx.array:
            parts = []
            for half in (0, 1):
                for prefix in prefixes:
                    seen = prefix.layers[layer][half : half + 1, :, : prefix.offset]
                    gap = [(0, 0), (0, 0), (0, length - prefix.offset), (0, 0)]
                    parts.append(mx.repeat(mx.pad(seen, gap), copies, axis=0))
            room = [(0, 0), (0, 0), (0, capacity - length), (0, 0)]
            return mx.pad(mx.concatenate(parts), room)  # once: no second copy of all the room

        joined = cls([join(layer) for layer in range(len(prefixes[0].layers))], length)
        joined.pad([length - prefix.offset for prefix in prefixes for _ in range(copies)])
        return joined

    def take(self, rows: Sequence[int]) -> None:
        """Keep these rows only, in this order."""
        kept = mx.array(list(rows))
        both = mx.concatenate([kept, kept + self.rows])
        self.layers = [layer[both] for layer in self.layers]
        self._others = {}
        if self.padding is not None and self._filled is not None:
            self.padding, self._filled = self.padding[kept], self._filled[kept]

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` tokens in all, if there is less."""
        extra = capacity - self.capacity
        if extra > 0:
            room = [(0, 0), (0, 0), (0, extra), (0, 0)]
            self.layers = [mx.pad(layer, room) for layer in self.layers]
            self._others = {}

    def update(self, layer: int, *entries: mx.array) -> tuple[mx.array, mx.array]:
        """Write new tokens behind ``offset``; return keys and values of all up to them.

        ``entries`` are keys and values [rows, heads, T, D], or both in one [2 rows, heads, T, D].
        """
        if self._turns:
            self._take_turns(layer)
        stop = self.offset + entries[0].shape[2]
        every = self.layers[layer]
        _write(every, self.offset, entries)
        if self._turns:
            self._last[layer] = self.offset, entries
        return every[: self.rows, :, :stop], every[self.rows :, :, :stop]

    @contextmanager
    def taking_turns(self) -> Iterator[None]:
        """On a GPU, while steps are submitted before the one before is done: write two copies of a
        small cache in turns, each a step late.

        MLX writes in place only what nobody holds, and a step that runs holds what it reads: it
        would copy the whole cache. The steps of a large model are too long for that.
        """
        self._turns = on_gpu() and self.nbytes <= TURNS
        try:
            yield
        finally:
            self._turns = False
            self._others, self._last = {}, {}

    def _take_turns(self, layer: int) -> None:
        """Let the layer be its other copy, with what was written since."""
        other = self._others.get(layer)
        if other is None:
            other = mx.array(self.layers[layer])
        else:
            _write(other, *self._last[layer])
        self._others[layer], self.layers[layer] = self.layers[layer], other

    def positions(self) -> int | mx.array:
        """The position of the next token: one for all rows, or one per row where they differ."""
        return self.offset if self.padding is None else self.offset - self.padding

    def visible(self, length: int, window: int | None = None) -> mx.array | None:
        """What ``length`` new tokens see: None for all before them, or booleans [B or 1, 1, T, S].

        ``window`` is how many tokens back a layer's attention reaches, itself counted.
        """
        stop = self.offset + length
        if window is not None and stop <= window:
            window = None
        filled = None if self._filled is None else self._filled[..., :stop]
        if window is None and (filled is None or length == 1):
            return filled
        query = mx.arange(self.offset, stop)[:, None]
        key = mx.arange(stop)[None]
        near = query >= key
        if window is not None:
            far = query - key
            if self.padding is not None:  # positions, unlike slots, have no gap
                far = far - mx.where(key < self._end, self.padding[:, None, None, None], 0)
            near = near & (far < window)
        return near if filled is None else filled & near


def _write(layer: mx.array, start: int, entries: Sequence[mx.array]) -> None:
    """Put entries behind ``start``: keys, then values."""
    first = 0
    for part in entries:
        layer[first : first + len(part), :, start : start + part.shape[2]] = part
        first += len(part)
