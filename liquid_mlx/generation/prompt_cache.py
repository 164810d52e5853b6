"""The keys and values of the last prompt, kept for the next one with the same beginning."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import mlx.core as mx

from liquid_mlx.generation.prefill import PREFILL, Prefix, prefill
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache


class PromptCache:
    """Prefills prompts, and keeps the last one so that what follows it need not read it again.

    A question's image is kept whole or not at all, which makes an answer the same whether the
    image was kept or not; a chat keeps all that its next turn repeats.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._lock = threading.Lock()
        self._kept: tuple[list[int], KVCache] | None = None

    def read(self, shared: list[int], rest: list[int], max_new_tokens: int) -> Prefix:
        """Prefill ``shared + rest``, with space for the answer; the cache is the caller's."""
        ids = shared + rest
        cache = self._known(shared, ids, len(ids) + max_new_tokens)
        cache.reserve(len(ids) + max_new_tokens)
        return prefill(self._backbone, ids[cache.offset :], cache)

    def read_together(
        self, shared: list[int], rests: Sequence[list[int]], max_new_tokens: int
    ) -> Prefix:
        """Prefill every rest behind a copy of ``shared``, which stays kept; a row for each."""
        one = self._known(shared, shared + rests[0], len(shared))
        longest = max(map(len, rests))
        cache = KVCache.joined([one], len(rests), len(shared) + longest + max_new_tokens)
        self.keep(shared, one)
        padding = [longest - len(rest) for rest in rests]
        padded = [[*rest, *[0] * n] for rest, n in zip(rests, padding, strict=True)]
        ids = mx.array(padded)  # [rests, longest]
        hidden = []
        width = max(1, PREFILL // len(rests))
        for start in range(0, longest, width):
            hidden.append(self._backbone(ids[:, start : start + width], cache))
            mx.eval(hidden, cache.layers)
        cache.pad(padding)
        last = longest - 1 - mx.array(padding)
        rows = mx.arange(len(rests))
        states = mx.concatenate(hidden, axis=1)  # [rests, longest, hidden]
        return Prefix(cache, states[rows, last][:, None])

    def _known(self, shared: list[int], ids: list[int], capacity: int) -> KVCache:
        """A one-row cache that holds the beginning of ``ids``, at least ``shared``."""
        with self._lock:
            kept, self._kept = self._kept, None
        known = 0 if kept is None else _common(kept[0], ids[:-1])
        if shared:
            known = len(shared) if known >= len(shared) else 0
        if kept is not None and known:
            kept[1].offset = known
            return kept[1]
        cache = KVCache.empty(self._backbone.config, 1, capacity, self._backbone.dtype)
        if shared:
            prefill(self._backbone, shared, cache)
        return cache

    def keep(self, ids: list[int], cache: KVCache) -> None:
        """Give back a cache filled with ``ids`` (the last of them may still be missing)."""
        mx.eval(cache.layers)  # another thread may take it up: leave nothing lazy
        with self._lock:
            self._kept = ids[: cache.offset], cache


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
