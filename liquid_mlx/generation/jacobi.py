"""Jacobi windows: several codes per step, the same codes as one at a time.

The noise of a position is fixed by seed and position, so its code is a function of the codes
before it. A step runs a window of drafts at once, and accepts its results up to and including the
first that differs from its draft: that one too was computed from right codes only. The results
behind it are the next drafts (Jacobi decoding with fixed noise). Nothing is sampled twice, no
second stream of noise is needed. Matrix products of another shape may round differently, so that
codes with almost the same score can swap; in float32 that is rare, in bfloat16 less so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import mlx.core as mx

from liquid_mlx.distributed.exchange import agreed
from liquid_mlx.generation.image import (
    Draw,
    Head,
    Noise,
    Steps,
    begin,
    draw_codes,
    sample_codes,
)
from liquid_mlx.generation.prefill import Prefix
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.params import integer
from liquid_mlx.results import CodesStep

Window = int | Literal["auto"]
WIDEST = 8
WINDOWS = (1, 2, 3, 4, 8)  # that "auto" tries


def draw_windows(
    backbone: Backbone,
    head: Head,
    image_offset: int,
    prefixes: Sequence[Prefix],
    draw: Draw,
    total: int,
    window: int,
) -> Steps:
    """As ``draw_codes``, with up to ``window`` codes a step.

    Of several images each step accepts as many codes as are right in all of them.
    """
    if window == 1:
        yield from draw_codes(backbone, head, image_offset, prefixes, draw, total)
        return
    cache, hidden = begin(prefixes, draw, total)
    groups = cache.rows // len(draw.seeds)
    noise = Noise(draw, total)
    filled = cache.offset
    tokens: list[mx.array] = []
    drafts = mx.zeros((len(draw.seeds), 0), mx.uint32)
    while True:
        logits = head(hidden)  # [rows, T, n]
        start = len(tokens)
        results = agreed(_sample(logits, noise, start, draw), backbone.shard)  # [count, T]
        right = 1 + _agreed(drafts, results[:, :-1])
        tokens += [results[:, i] for i in range(right)]
        yield CodesStep(len(tokens), total, tokens)
        if len(tokens) == total:
            return
        width = min(window, total - len(tokens))
        drafts = results[:, right:][:, : width - 1]
        missing = width - 1 - drafts.shape[1]
        if missing:  # the last logits, with the noise of later positions
            same = mx.repeat(logits[:, -1:], missing, axis=1)
            guesses = _sample(same, noise, len(tokens) + drafts.shape[1], draw)
            guesses = agreed(guesses, backbone.shard)
            drafts = mx.concatenate([drafts, guesses], axis=1)
        ids = mx.concatenate([tokens[-1][:, None], drafts], axis=1) + image_offset  # [count, width]
        cache.offset = filled + len(tokens) - 1
        hidden = backbone(mx.tile(ids, (groups, 1)), cache)


def check_window(window: Window) -> None:
    """Raise SettingsError unless it is 1 to 8, or "auto"."""
    if not isinstance(window, str) or window != "auto":
        integer("window", window, 1, WIDEST, f"use 1 (one code a step) to {WIDEST}, or auto")


def _agreed(drafts: mx.array, results: mx.array) -> int:
    """How many leading columns of [count, d] are equal in all rows."""
    same = mx.all(drafts == results, axis=0)
    return int(mx.cumprod(same.astype(mx.int32)).sum())


def _sample(logits: mx.array, noise: Noise, start: int, draw: Draw) -> mx.array:
    """Codes [count, T] from logits [rows, T, n] of positions from ``start`` on."""
    _, length, n = logits.shape
    rows = noise.rows(start, start + length, n)
    return sample_codes(logits.reshape(-1, n), rows, draw).reshape(-1, length)
