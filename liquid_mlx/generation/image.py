"""Image generation: one loop that yields a step per code, for all images of a prompt at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from liquid_mlx import kernels
from liquid_mlx.distributed.exchange import agreed
from liquid_mlx.generation.prefill import Prefix
from liquid_mlx.generation.sampling import fold_in, noise
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import ImageParams
from liquid_mlx.results import CodesStep

Head = Callable[[mx.array], mx.array]
Steps = Generator[CodesStep, Sequence[int] | None, None]
AHEAD = 64  # positions whose noise is made at once
RENEWED = 2**32 - 1  # folded into a seed, says which positions it renews; no position has it


@dataclass(frozen=True)
class Draw:
    """How codes are sampled from logits: one seed per image, the same settings for all."""

    seeds: Sequence[int]
    params: ImageParams
    prompts: Sequence[int] = ()  # which prefix each picture is behind; () is all behind the first
    given: np.ndarray | None = None  # int [total]: codes that are kept in all, -1 is drawn
    renewing: Sequence[int] = ()  # a seed per image, whose noise replaces that of a share
    strength: float = 0.0  # of the positions, 0 to 1

    def places(self, total: int) -> list[int]:
        """The positions that are drawn, in ascending order."""
        if self.given is None:
            return list(range(total))
        return [int(place) for place in np.flatnonzero(self.given < 0)]

    def tokens(self, total: int) -> list[mx.array]:
        """Codes uint32 [count] of every position; those of ``places`` are still to come."""
        if self.given is None:
            return [mx.zeros(len(self.seeds), mx.uint32)] * total
        return [mx.full(len(self.seeds), max(int(c), 0), mx.uint32) for c in self.given]


def draw_codes(
    backbone: Backbone,
    head: Head,
    image_offset: int,
    prefixes: Sequence[Prefix],
    draw: Draw,
    total: int,
) -> Steps:
    """Sample ``total`` codes of ``len(draw.seeds)`` images, a step for each position.

    Step n + 1 is submitted before step n is yielded, and no code is copied to the host unless a
    step's ``codes`` are asked for. Numbers of images sent back to a step leave only these.

    Args:
        head: hidden states -> float32 logits over the codes.
        image_offset: id of code 0.
        prefixes: the prefilled prompts, and with guidance the unconditional one; behind each
            of them the codes that are given before the first that is drawn.
    """
    places = draw.places(total)
    cache, hidden = begin(prefixes, draw, total - places[0])
    count = len(draw.seeds)
    groups = cache.rows // count
    noise = Noise(draw, total)
    tokens = draw.tokens(total)
    with cache.taking_turns():
        for i, place in enumerate(places):
            logits = head(hidden[:, -1])  # [rows, n]
            uniform = noise.rows(place, place + 1, logits.shape[-1])
            tokens[place] = agreed(sample_codes(logits, uniform, draw), backbone.shard)
            if i + 1 < len(places):
                known = tokens[place] + image_offset
                ids = mx.tile(known, groups)[:, None]  # [rows, 1]
                if places[i + 1] > place + 1:  # codes that are given are read together
                    run = mx.stack(tokens[place : places[i + 1]], axis=1) + image_offset
                    ids = mx.tile(run, (groups, 1))
                hidden = backbone(ids, cache)  # [rows, 1 or more, hidden]
            mx.async_eval(tokens[place], hidden)
            if i:
                mx.eval(tokens[places[i - 1]])
                kept = yield CodesStep(place, total, tokens)
                if kept is not None:
                    some = mx.array(list(kept))
                    rows = [int(image) + group * count for group in range(groups) for image in kept]
                    count = len(kept)
                    cache.take(rows)
                    hidden, tokens = hidden[mx.array(rows)], [codes[some] for codes in tokens]
                    noise.take(some)
    mx.eval(tokens[places[-1]])
    yield CodesStep(total, total, tokens)


def begin(prefixes: Sequence[Prefix], draw: Draw, total: int) -> tuple[KVCache, mx.array]:
    """What generation starts from: cache and hidden states [rows, 1, hidden].

    Rows are all images behind their prompts, then all behind the unconditional one.
    """
    count = len(draw.seeds)
    prompts = draw.prompts or [0] * count
    rows = [prefixes[prompt] for prompt in prompts]
    if len(prefixes) > max(prompts) + 1:
        rows += [prefixes[-1]] * count
    length = max(prefix.cache.offset for prefix in rows)
    cache = KVCache.joined([row.cache for row in rows], 1, length + total - 1)
    return cache, mx.concatenate([row.hidden for row in rows])


class Noise:
    """The noise of a generation: every position of every image has a stream of its own.

    It is made for many positions at once, which costs less than making it in every step.
    """

    def __init__(self, draw: Draw, total: int):
        self._keys = position_keys(draw.seeds, total)
        if draw.renewing:
            renewed = [renewed_places(seed, draw.strength, total) for seed in draw.renewing]
            new = position_keys(draw.renewing, total)
            self._keys = mx.where(mx.stack(renewed)[..., None], new, self._keys)
        self._needed = draw.params.temperature > 0
        self._start, self._block = 0, mx.zeros((len(draw.seeds), 0, 0))

    def take(self, images: mx.array) -> None:
        """Keep these images only."""
        self._keys, self._block = self._keys[images], self._block[images]

    def rows(self, start: int, stop: int, n: int) -> mx.array:
        """Noise of positions ``start`` to ``stop``, image by image: [images * positions, n].

        Positions are asked for in ascending order, though some may be asked for again.
        """
        count = len(self._keys)
        if not self._needed:
            return mx.zeros((count * (stop - start), n))
        if not self._start <= start < stop <= self._start + self._block.shape[1]:
            keys = self._keys[:, start : max(stop, start + AHEAD)]
            block = noise(keys.reshape(-1, 2), (count * keys.shape[1], n))
            self._start, self._block = start, block.reshape(count, -1, n)
        return self._block[:, start - self._start : stop - self._start].reshape(-1, n)


def position_keys(seeds: Sequence[int], total: int) -> mx.array:
    """The key of every position: uint32 [seeds, total, 2]."""
    places = mx.arange(total)
    return mx.stack([fold_in(mx.random.key(seed), places) for seed in seeds])


def renewed_places(seed: int, strength: float, total: int) -> mx.array:
    """Which positions a variation renews: bool [total], a share ``strength`` of them.

    Those of a smaller strength are among those of a larger one; 0 is none and 1 is all.
    """
    key = fold_in(mx.random.key(seed), RENEWED)
    return mx.random.uniform(shape=(total,), key=key) < strength


def sample_codes(logits: mx.array, noise: mx.array, draw: Draw) -> mx.array:
    """Codes uint32 [B] from logits [B or 2 B, n] and noise [B, n]: conditional rows come first."""
    params = draw.params
    return kernels.sample_codes(
        logits[: len(noise)],
        logits[len(noise) :] if len(logits) > len(noise) else None,
        noise,
        guidance=params.guidance,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
    )
