"""Answering: prefill a prompt, then a loop that yields the next id until the model stops."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from liquid_mlx.backbone import Backbone
from liquid_mlx.cache import KVCache
from liquid_mlx.generation.image import Head, Prefix, prefill
from liquid_mlx.sampling import fold, sample


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
        with self._lock:
            kept, self._kept = self._kept, None
        ids = shared + rest
        known, cache = 0, None
        if kept is not None:
            known = _common(kept[0], ids[:-1])
            known = known if not shared else len(shared) * (known >= len(shared))
        if kept is not None and known:
            cache = kept[1]
            cache.offset = known
        else:
            cache = KVCache.empty(self._backbone.config, 1, len(ids) + room, self._backbone.dtype)
        cache.reserve(len(ids) + room)
        if known < len(shared):
            prefill(self._backbone, shared, cache)
            known = len(shared)
        return prefill(self._backbone, ids[known:], cache)

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


def generate_ids(
    backbone: Backbone,
    head: Head,
    prefix: Prefix,
    *,
    max_tokens: int,
    stop: Collection[int],
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield up to ``max_tokens`` ids drawn behind a prefix; ends without the id that stops it.

    The next step is under way before an id is looked at.
    """
    key = mx.random.key(seed)

    def draw(hidden: mx.array, position: int) -> mx.array:
        return sample(
            head(hidden[:, -1]),
            fold(key, position),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )

    token = draw(prefix.hidden, 0)
    mx.async_eval(token)
    for position in range(1, max_tokens + 1):
        following = None
        if position < max_tokens:
            following = draw(backbone(token[:, None], prefix.cache), position)
            mx.async_eval(following)
        value = int(token[0])
        if value in stop:
            return
        yield value
        if following is not None:
            token = following


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
