"""Read a prompt's tokens into a key-value cache, in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache

PREFILL = 1024  # tokens prefilled at once: bounds the memory of attention scores


@dataclass(frozen=True)
class Prefix:
    """Prefilled prompts: keys and values, and the last token's hidden states [rows, 1, hidden]."""

    cache: KVCache
    hidden: mx.array


def prefill(backbone: Backbone, ids: Sequence[int], cache: KVCache | None = None) -> Prefix:
    """Run token ids [T] through the model, behind what a one-row cache holds (None: a new one)."""
    return prefill_rows(backbone, [ids], cache)


def prefill_rows(
    backbone: Backbone, ids: Sequence[Sequence[int]], cache: KVCache | None = None
) -> Prefix:
    """Run many sequences of one length, ids [rows, T], through the model at once."""
    tokens = mx.array([list(row) for row in ids])
    rows, length = tokens.shape
    if cache is None:
        cache = KVCache.empty(backbone.config, rows, length, backbone.dtype)
    cache.reserve(cache.offset + length)
    width = max(1, PREFILL // rows)
    for start in range(0, length, width):
        hidden = backbone(tokens[:, start : start + width], cache)
        mx.eval(hidden, cache.layers)
    last = hidden[:, -1:]
    mx.eval(last)  # a prefix is kept, and another thread cannot compute what this one left lazy
    return Prefix(cache, last)
