"""Answering: prefill prompts, then a loop that yields their next ids until the model stops."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import mlx.core as mx
import numpy as np

from liquid_mlx.backbone import Backbone
from liquid_mlx.cache import KVCache
from liquid_mlx.generation.image import PREFILL, Head, Prefix, prefill
from liquid_mlx.sampling import fold, sample

BATCH = 16  # prompts read together: more hardly gain, and each costs keys and values


@dataclass(frozen=True)
class TextStep:
    """A piece of an answer: the text that a new token completes ("" inside a character)."""

    text: str
    token: int
    position: int


class Reader:
    """Prefills prompts, and keeps the last one so that what follows it need not read it again.

    A question's picture is kept whole or not at all, which makes an answer the same whether the
    picture was kept or not; a conversation keeps all that its next turn repeats.
    """

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._lock = threading.Lock()
        self._kept: tuple[list[int], KVCache] | None = None

    def read(self, shared: list[int], rest: list[int], room: int) -> Prefix:
        """Prefill ``shared + rest``, with space for ``room`` more; the cache is the caller's."""
        ids = shared + rest
        cache = self._known(shared, ids, len(ids) + room)
        cache.reserve(len(ids) + room)
        return prefill(self._backbone, ids[cache.offset :], cache)

    def read_together(self, shared: list[int], rests: Sequence[list[int]], room: int) -> Prefix:
        """Prefill every rest behind a copy of ``shared``, which stays kept; a row for each."""
        one = self._known(shared, shared + rests[0], len(shared))
        longest = max(map(len, rests))
        cache = KVCache.joined([one], len(rests), len(shared) + longest + room)
        self.keep(shared, one)
        padding = [longest - len(rest) for rest in rests]
        ids = mx.array([[*rest, *[0] * empty] for rest, empty in zip(rests, padding, strict=True)])
        hidden = []
        width = max(1, PREFILL // len(rests))
        for start in range(0, longest, width):
            hidden.append(self._backbone(ids[:, start : start + width], cache))
            mx.eval(hidden, cache.keys, cache.values)
        cache.pad(padding)
        last = longest - 1 - mx.array(padding)
        rows = mx.arange(len(rests))
        return Prefix(cache, mx.concatenate(hidden, axis=1)[rows, last][:, None])

    def _known(self, shared: list[int], ids: list[int], capacity: int) -> KVCache:
        """A one-row cache that holds the beginning of ``ids``, at least ``shared``."""
        with self._lock:
            kept, self._kept = self._kept, None
        known = 0 if kept is None else _common(kept[0], ids[:-1])
        known = known if not shared else len(shared) * (known >= len(shared))
        if kept is not None and known:
            kept[1].offset = known
            return kept[1]
        cache = KVCache.empty(self._backbone.config, 1, capacity, self._backbone.dtype)
        if shared:
            prefill(self._backbone, shared, cache)
        return cache

    def keep(self, ids: list[int], cache: KVCache) -> None:
        """Give back a cache filled with ``ids`` (the last of them may still be missing)."""
        mx.eval(cache.keys, cache.values)  # another thread may take it up: leave nothing lazy
        with self._lock:
            self._kept = ids[: cache.offset], cache


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def batches(rests: Sequence[list[int]], rooms: Sequence[int], most: int) -> Iterator[list[int]]:
    """Which prompts to read together: indices of up to ``most``, alike in length and in room."""
    order = sorted(range(len(rests)), key=lambda i: len(rests[i]))
    for _, group in groupby(order, key=rooms.__getitem__):
        alike = list(group)
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def generate_ids(
    backbone: Backbone,
    head: Head,
    prefix: Prefix,
    *,
    max_tokens: int,
    stop: Collection[int],
    seeds: Sequence[int] = (0,),
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[list[int | None]]:
    """Yield up to ``max_tokens`` times an id for every row of a prefix, each row with its seed.

    A row that has come to an id of ``stop`` yields None from there; the end is when all have. The
    next step is under way before ids are looked at.
    """
    keys = mx.stack([fold(mx.random.key(seed), mx.arange(max_tokens)) for seed in seeds], axis=1)

    def draw(hidden: mx.array, position: int) -> mx.array:
        return sample(
            head(hidden[:, -1]), keys[position], temperature=temperature, top_k=top_k, top_p=top_p
        )

    tokens = draw(prefix.hidden, 0)
    mx.async_eval(tokens)
    going = [True] * len(seeds)
    for position in range(1, max_tokens + 1):
        following = None
        if position < max_tokens:
            following = draw(backbone(tokens[:, None], prefix.cache), position)
            mx.async_eval(following)
        ids: list[int] = tokens.tolist()  # type: ignore[assignment]
        going = [on and token not in stop for on, token in zip(going, ids, strict=True)]
        if not any(going):
            return
        yield [token if on else None for on, token in zip(going, ids, strict=True)]
        if following is not None:
            tokens = following


def score_ids(
    backbone: Backbone, head: Head, prefix: Prefix, ids: Sequence[int], stop: Collection[int]
) -> float:
    """Log-probability of ids behind a prefix and of any ``stop`` id after them.

    The prefix's cache is left as it was, so that other ids can be scored behind it.
    """
    start = prefix.cache.offset
    hidden = backbone(mx.array([list(ids)]), prefix.cache)
    prefix.cache.offset = start
    logits = head(mx.concatenate([prefix.hidden, hidden], axis=1))[0]
    logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    written = mx.take_along_axis(logs[:-1], mx.array(list(ids))[:, None], axis=-1)
    end = mx.logsumexp(logs[-1, mx.array(sorted(stop))])
    return float(np.array(written.sum() + end))
