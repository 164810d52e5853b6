"""Drawing: one loop that yields a typed step per code, for all pictures of a prompt at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from liquid_mlx import kernels
from liquid_mlx.backbone import Backbone
from liquid_mlx.cache import KVCache
from liquid_mlx.sampling import fold, noise

Head = Callable[[mx.array], mx.array]
PREFILL = 1024  # tokens prefilled at once: bounds the memory of attention scores


@dataclass(frozen=True)
class Prefix:
    """A prefilled prompt of one row: keys and values, and the hidden state of its last token."""

    cache: KVCache
    hidden: mx.array


@dataclass(frozen=True)
class Draw:
    """How codes are drawn from logits; ``seeds`` has one seed per picture."""

    seeds: Sequence[int]
    guidance: float
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class CodesStep:
    """``position`` of ``total`` codes are drawn."""

    position: int
    total: int
    tokens: Sequence[mx.array]

    @property
    def codes(self) -> np.ndarray:
        """The codes so far, int32 [count, position], row by row of the grid."""
        drawn = mx.stack(list(self.tokens[: self.position]), axis=1)
        return np.array(drawn.astype(mx.int32))


def prefill(backbone: Backbone, ids: Sequence[int], cache: KVCache | None = None) -> Prefix:
    """Run token ids [T] through the model, behind what a one-row cache holds (None: a new one)."""
    if cache is None:
        cache = KVCache.empty(backbone.config, 1, len(ids), backbone.dtype)
    cache.reserve(cache.offset + len(ids))
    for start in range(0, len(ids), PREFILL):
        hidden = backbone(mx.array([ids[start : start + PREFILL]]), cache)
        mx.eval(hidden, cache.keys, cache.values)
    return Prefix(cache, hidden[:, -1:])


def draw_codes(
    backbone: Backbone,
    head: Head,
    image_offset: int,
    prefixes: Sequence[Prefix],
    draw: Draw,
    total: int,
) -> Iterator[CodesStep]:
    """Draw ``total`` codes of ``len(draw.seeds)`` pictures, a step for each position.

    Step n + 1 is under way before step n is yielded, and no code comes to the host unless a
    step's ``codes`` are asked for.

    Args:
        head: hidden states -> float32 logits over the codes.
        image_offset: id of code 0.
        prefixes: the prefilled prompt, and with guidance the unconditional one.
    """
    keys, cache, hidden = begin(prefixes, draw, total)
    tokens: list[mx.array] = []
    for position in range(total):
        tokens.append(sample_codes(head(hidden[:, -1]), keys[:, position], draw))
        if position + 1 < total:
            ids = mx.tile(tokens[-1] + image_offset, len(prefixes))[:, None]
            hidden = backbone(ids, cache)
        mx.async_eval(tokens[-1], hidden)
        if position:
            mx.eval(tokens[-2])
            yield CodesStep(position, total, tokens)
    mx.eval(tokens[-1])
    yield CodesStep(total, total, tokens)


def begin(prefixes: Sequence[Prefix], draw: Draw, total: int) -> tuple[mx.array, KVCache, mx.array]:
    """What a drawing starts from: keys of its noise [count, total, 2], cache, hidden state.

    Rows are all pictures behind the first prefix, then all behind the second.
    """
    count = len(draw.seeds)
    keys = mx.stack([fold(mx.random.key(seed), mx.arange(total)) for seed in draw.seeds])
    length = max(prefix.cache.offset for prefix in prefixes)
    cache = KVCache.joined([p.cache for p in prefixes], count, length + total - 1)
    hidden = mx.concatenate([mx.repeat(p.hidden, count, axis=0) for p in prefixes])
    return keys, cache, hidden


def sample_codes(logits: mx.array, keys: mx.array, draw: Draw) -> mx.array:
    """Codes uint32 [B] from logits [B or 2 B, n] and keys [B, 2]: conditional rows come first."""
    shape = (len(keys), logits.shape[-1])
    return kernels.sample_codes(
        logits[: len(keys)],
        logits[len(keys) :] if len(logits) > len(keys) else None,
        noise(keys, shape) if draw.temperature > 0 else mx.zeros(shape),
        guidance=draw.guidance,
        temperature=draw.temperature,
        top_k=draw.top_k,
        top_p=draw.top_p,
    )
