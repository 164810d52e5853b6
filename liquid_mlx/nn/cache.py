"""Keys and values of the tokens that the backbone has seen."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from liquid_mlx.config import BackboneConfig


class KVCache:
    """Keys and values of every layer, ``[rows, kv_heads, capacity, head_dim]``, allocated once.

    Rows whose prompts are shorter than the longest have ``padding`` empty slots behind them, up
    to where all rows go on together. Attention never sees these, and positions do not count them.
    """

    def __init__(self, keys: list[mx.array], values: list[mx.array], offset: int = 0):
        self.keys = keys
        self.values = values
        self.offset = offset
        self.padding: mx.array | None = None

    def pad(self, padding: Sequence[int]) -> None:
        """Declare the last ``padding[i]`` slots of row i empty; once, with all room reserved."""
        if any(padding):
            self.padding = mx.array(list(padding))
            slots, self._end = mx.arange(self.capacity), self.offset
            empty = (slots >= self._end - self.padding[:, None]) & (slots < self._end)
            self._visible = ~empty[:, None, None]

    @property
    def rows(self) -> int:
        return self.keys[0].shape[0]

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    @property
    def nbytes(self) -> int:
        return 2 * sum(k.nbytes for k in self.keys)

    @classmethod
    def empty(cls, config: BackboneConfig, rows: int, capacity: int, dtype: mx.Dtype) -> KVCache:
        """Room for ``capacity`` tokens of ``rows`` sequences."""
        shape = (rows, config.num_key_value_heads, capacity, config.head_dim)
        layers = range(config.num_hidden_layers)
        return cls(
            [mx.zeros(shape, dtype) for _ in layers], [mx.zeros(shape, dtype) for _ in layers]
        )

    @classmethod
    def joined(cls, prefixes: Sequence[KVCache], copies: int, capacity: int) -> KVCache:
        """Each one-row prefix ``copies`` times, with room up to capacity.

        ``capacity`` counts the slots of the longest prefix's rows. The order of rows is all
        copies of the first prefix, then all of the second, and so on.
        """
        length = max(prefix.offset for prefix in prefixes)

        def join(arrays: list[mx.array]) -> mx.array:
            rows = []
            for prefix, array in zip(prefixes, arrays, strict=True):
                room = [(0, 0), (0, 0), (0, capacity - prefix.offset), (0, 0)]
                rows.append(mx.repeat(mx.pad(array[:, :, : prefix.offset], room), copies, axis=0))
            return mx.concatenate(rows)

        keys = [join(list(layer)) for layer in zip(*(p.keys for p in prefixes), strict=True)]
        values = [join(list(layer)) for layer in zip(*(p.values for p in prefixes), strict=True)]
        joined = cls(keys, values, length)
        joined.pad([length - prefix.offset for prefix in prefixes for _ in range(copies)])
        return joined

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` tokens in all, if there is less."""
        extra = capacity - self.capacity
        if extra > 0:
            room = [(0, 0), (0, 0), (0, extra), (0, 0)]
            self.keys = [mx.pad(k, room) for k in self.keys]
            self.values = [mx.pad(v, room) for v in self.values]

    def update(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write the new tokens' keys and values behind ``offset``; return all up to them."""
        start, stop = self.offset, self.offset + keys.shape[2]
        self.keys[layer][:, :, start:stop] = keys
        self.values[layer][:, :, start:stop] = values
        return self.keys[layer][:, :, :stop], self.values[layer][:, :, :stop]

    def positions(self) -> int | mx.array:
        """The position of the next token: one for all rows, or one per row where they differ."""
        return self.offset if self.padding is None else self.offset - self.padding

    def mask(self, length: int, window: int | None = None) -> mx.array | str | None:
        """What ``length`` new tokens may see: None for all, "causal", or booleans [B, 1, T, S]."""
        stop = self.offset + length
        if window is not None and stop <= window:
            window = None
        if window is None and self.padding is None:
            return None if length == 1 else "causal"
        mask = None if self.padding is None else self._visible[..., :stop]
        if length > 1 or window is not None:
            query = mx.arange(self.offset, stop)[:, None]
            key = mx.arange(stop)[None]
            near = query >= key
            if window is not None:
                far = query - key
                if self.padding is not None:  # positions, unlike slots, have no gap
                    far = far - mx.where(key < self._end, self.padding[:, None, None, None], 0)
                near = near & (far < window)
            mask = near if mask is None else mask & near
        return mask
