"""The language model with all that is computed from it once: heads, prefixes, the last prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlx.core as mx

from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.distributed.exchange import agreed
from liquid_mlx.generation.autotune import chosen, fastest
from liquid_mlx.generation.image import Draw, Steps
from liquid_mlx.generation.jacobi import Window, draw_windows
from liquid_mlx.generation.prefill import Prefix, prefill
from liquid_mlx.generation.prompt_cache import PromptCache
from liquid_mlx.generation.text import generate_ids, score_ids
from liquid_mlx.memory import limits
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import TextParams
from liquid_mlx.prompts import Prompts


class Engine:
    """A backbone, its two heads, and the prefixes that prompts share."""

    def __init__(self, backbone: Backbone, config: LiquidConfig, prompts: Prompts):
        codes = config.image_offset
        self.backbone = backbone
        self.image_head = backbone.head(codes, codes + config.vqgan.n_embed, exact=True)
        self.text_head = backbone.head(0, codes)
        self.prompt_cache = PromptCache(backbone)
        self.config = config
        self.prompts = prompts
        self.stop = set(config.eos_ids)
        if "end_of_turn" in config.special:
            self.stop.add(config.special["end_of_turn"])
        self._unconditional: dict[Size, Prefix] = {}

    def draw(
        self, prompts: Sequence[list[int]], draw: Draw, size: Size, total: int, window: Window
    ) -> Steps:
        """Draw ``total`` codes behind each prompt's ids; see ``draw_codes`` and ``draw_windows``.

        ``draw.prompts`` says which picture is behind which of them. The codes that are given
        before the first that is drawn are read with the prompts.
        """
        given: list[int] = []
        if draw.given is not None:
            start = draw.places(total)[0]
            given = (draw.given[:start] + self.config.image_offset).tolist()
        prefixes = [prefill(self.backbone, ids + given) for ids in prompts]
        return self.draw_behind(prefixes, draw, size, total, window, given)

    def draw_behind(
        self,
        prompts: Sequence[Prefix],
        draw: Draw,
        size: Size,
        total: int,
        window: Window,
        given: Sequence[int] = (),
    ) -> Steps:
        """The same behind what has been prefilled, with ``given`` ids at its end already."""
        prefixes = [*prompts]
        if draw.params.guidance > 1:
            prefixes.append(self.unconditional(size, given))

        def start(width: int) -> Steps:
            offset = self.config.image_offset
            return draw_windows(
                self.backbone, self.image_head, offset, prefixes, draw, total, width
            )

        if window == "auto" and self.backbone.shard.size > 1:  # all ranks time, one decides
            window = int(agreed(mx.array(fastest(start)), self.backbone.shard))
        key = (self.config, str(self.backbone.dtype), len(draw.seeds), len(prefixes))
        yield from start(chosen(window, key, start))

    def write(
        self,
        shared: list[int],
        rests: Sequence[list[int]],
        params: TextParams,
        seeds: Sequence[int],
    ) -> Iterator[list[int | None]]:
        """The next ids behind ``shared + rest``, for every rest at once; see ``generate_ids``."""
        with limits():
            if len(rests) > 1:
                prefix = self.prompt_cache.read_together(shared, rests, params.max_new_tokens)
            else:
                prefix = self.prompt_cache.read(shared, rests[0], params.max_new_tokens)
            written: list[int] = []
            try:
                for ids in generate_ids(
                    self.backbone,
                    self.text_head,
                    prefix,
                    params=params,
                    stop=self.stop,
                    seeds=seeds,
                ):
                    written += [token for token in ids if token is not None]
                    yield ids
            finally:
                if len(rests) == 1:
                    self.prompt_cache.keep(shared + rests[0] + written, prefix.cache)

    def unconditional(self, size: Size, given: Sequence[int] = ()) -> Prefix:
        """The unconditional prompt, prefilled once for each size: every drawing shares it.

        Args:
            given: ids of codes behind it.
        """
        if size not in self._unconditional:
            ids = self.prompts.unconditional(size)
            self._unconditional[size] = prefill(self.backbone, ids)
        prefix = self._unconditional[size]
        if given:
            length = prefix.cache.offset + len(given)
            prefix = prefill(self.backbone, given, KVCache.joined([prefix.cache], 1, length))
        return prefix

    def score(
        self, shared: list[int], rest: list[int], replies: Sequence[list[int]]
    ) -> list[float]:
        """Log-probability of each reply behind ``shared + rest``, which is read once for all."""
        with limits():
            prefix = self.prompt_cache.read(shared, rest, max(map(len, replies)))
            try:
                return [
                    score_ids(self.backbone, self.text_head, prefix, reply, self.stop)[0]
                    for reply in replies
                ]
            finally:
                self.prompt_cache.keep(shared + rest, prefix.cache)
