"""How likely the model finds codes behind a prompt: one pass over all of them, nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.prefill import PREFILL, Prefix
from liquid_mlx.nn.cache import KVCache


def code_logits(engine: Engine, prefix: Prefix, codes: np.ndarray) -> Iterator[mx.array]:
    """Logits of every position, in order: pieces float32 [pictures, some positions, codes].

    Args:
        prefix: a prefilled prompt (one row), which stays as it was.
        codes: int [pictures, positions]; each position sees those before it.
    """
    count, total = codes.shape
    cache = KVCache.joined([prefix.cache], count, prefix.cache.offset + total)
    ids = mx.array(codes.astype(np.int32) + engine.config.image_offset)
    before = mx.repeat(prefix.hidden, count, axis=0)  # the state that position 0 is drawn from
    width = max(1, PREFILL // count)
    for start in range(0, total, width):
        hidden = engine.backbone(ids[:, start : start + width], cache)
        states = mx.concatenate([before, hidden], axis=1)
        before = states[:, -1:]
        yield engine.image_head(states[:, :-1])


def code_log_probabilities(engine: Engine, prefix: Prefix, codes: np.ndarray) -> np.ndarray:
    """Natural log of each code's probability behind a prompt and the codes before it.

    Without guidance, temperature or filters: float32 [pictures, positions]. Their sum is the
    log-probability of the picture.
    """
    found = []
    start = 0
    for logits in code_logits(engine, prefix, codes):
        stop = start + logits.shape[1]
        places = mx.array(codes[:, start:stop].astype(np.int32))[..., None]
        drawn = mx.take_along_axis(logits, places, axis=-1)[..., 0]
        found.append(np.array(drawn - mx.logsumexp(logits, axis=-1)))
        start = stop
    return np.concatenate(found, axis=1)
