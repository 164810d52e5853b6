"""Answering: prefill prompts, then a loop that yields their next ids until the model stops."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import mlx.core as mx
import numpy as np

from liquid_mlx.distributed.exchange import agreed
from liquid_mlx.generation.image import Head
from liquid_mlx.generation.prefill import Prefix
from liquid_mlx.generation.sampling import fold_in, sample
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.params import TextParams

BATCH = 16  # prompts read together: more hardly gain, and each costs keys and values


def batches(rests: Sequence[list[int]], budgets: Sequence[int], most: int) -> Iterator[list[int]]:
    """Which prompts to read together: up to ``most`` indices, alike in length and budget."""
    order = sorted(range(len(rests)), key=lambda i: len(rests[i]))
    for _, group in groupby(order, key=budgets.__getitem__):
        alike = list(group)
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def generate_ids(
    backbone: Backbone,
    head: Head,
    prefix: Prefix,
    *,
    params: TextParams,
    stop: Collection[int],
    seeds: Sequence[int] = (0,),
    start: int = 0,
) -> Iterator[list[int | None]]:
    """Yield up to ``max_new_tokens`` times an id for every row of a prefix, each with its seed.

    Behind an id of ``stop`` a row yields None; the end is when all rows have come to one. The
    next step is under way before ids are looked at. ``start`` ids were drawn with these seeds
    before.
    """
    length = params.max_new_tokens
    places = mx.arange(start, start + length)
    keys = mx.stack([fold_in(mx.random.key(seed), places) for seed in seeds], axis=1)

    def draw(hidden: mx.array, position: int) -> mx.array:
        drawn = sample(
            head(hidden[:, -1]),  # [rows, text ids]
            keys[position],
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
        )
        return agreed(drawn, backbone.shard)

    tokens = draw(prefix.hidden, 0)
    mx.async_eval(tokens)
    going = [True] * len(seeds)
    with prefix.cache.taking_turns():
        for position in range(1, length + 1):
            following = None
            if position < length:
                following = draw(backbone(tokens[:, None], prefix.cache), position)
                mx.async_eval(following)
            ids: list[int] = tokens.tolist()  # type: ignore[assignment]
            yield [token if on else None for on, token in zip(going, ids, strict=True)]
            going = [on and token not in stop for on, token in zip(going, ids, strict=True)]
            if not any(going):
                return
            if following is not None:
                tokens = following


def score_ids(
    backbone: Backbone, head: Head, prefix: Prefix, ids: Sequence[int], stop: Collection[int] = ()
) -> list[float]:
    """Log-probability of ids behind every row of a prefix, and of any ``stop`` id after them.

    Without ``stop`` the ids are a beginning that anything may follow. The prefix's cache is left
    as it was, so that other ids can be scored behind it.
    """
    start, hidden = prefix.cache.offset, prefix.hidden
    read = list(ids) if stop else list(ids)[:-1]
    if read:
        prefix.cache.reserve(start + len(read))
        rest = backbone(mx.array([read] * prefix.cache.rows), prefix.cache)
        hidden = mx.concatenate([hidden, rest], axis=1)
    prefix.cache.offset = start
    logits = head(hidden)  # [rows, ids and one if there is a stop, n]
    logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    places = mx.broadcast_to(mx.array(list(ids))[None, :, None], (len(logs), len(ids), 1))
    total = mx.take_along_axis(logs[:, : len(ids)], places, axis=-1).sum(axis=(1, 2))
    if stop:
        total = total + mx.logsumexp(logs[:, -1, mx.array(sorted(stop))], axis=-1)
    found: list[float] = np.array(total).tolist()
    return found
