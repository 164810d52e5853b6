"""Answers that hold pictures: text until the model opens one, its codes, then text again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.generation.text import generate_ids
from liquid_mlx.memory import limits
from liquid_mlx.params import SEEDS, ImageParams, TextParams
from liquid_mlx.results import CodesStep, ImageStep, TextStep


def stream_interleaved(
    engine: Engine,
    ids: list[int],
    params: TextParams,
    image_params: ImageParams,
    seed: int,
    image_step: Callable[[CodesStep, Draw], ImageStep],
) -> Iterator[TextStep | ImageStep]:
    """An answer behind ``ids``: a step for every token of text and every code.

    When the model writes ``<boi>``, exactly the codes of a picture of its default size follow,
    guided as any picture, then ``<eoi>``, then the model goes on.

    Args:
        params: of the text. A picture counts as one token of ``max_new_tokens``; one that the
            context has no room for ends the answer ("length").
        image_params: of the pictures; picture k, from 0, has the seed ``seed + 1 + k``.
        image_step: makes a step of the codes so far.
    """
    config, backbone, boi = engine.config, engine.backbone, engine.prompts.opened()[0]
    size = config.sizes[0]
    rows, columns = config.grid(size)
    context = config.backbone.max_position_embeddings
    prefix = engine.prompt_cache.read([], ids, params.max_new_tokens)
    cache = prefix.cache
    written: list[int] = []  # all ids of the answer
    position = pictures = 0  # tokens of text, and pictures
    try:
        while True:
            free = context - len(ids) - len(written)
            most = min(params.max_new_tokens - position, free)
            end = position + most
            complete = engine.prompts.decoder()
            for (token,) in generate_ids(
                backbone,
                engine.text_head,
                prefix,
                params=replace(params, max_new_tokens=most),
                stop={*engine.stop, boi},
                seeds=[seed],
                start=position,
            ):
                assert token is not None
                written.append(token)
                position += 1
                room = context - len(ids) - len(written) - rows * columns - 1
                if token == boi and room > 0 and position < end:
                    break
                if token in engine.stop:
                    yield TextStep("", token, position, "stop", len(ids), len(written) - 1)
                    return
                text = complete(token)
                if token == boi or position == end:
                    yield TextStep(text, token, position, "length", len(ids), len(written))
                    return
                yield TextStep(text, token, position)
            cache.offset = len(ids) + len(written) - 1  # <boi> may have been read ahead
            prefix = prefill(backbone, written[-1:], cache)
            pictures += 1
            draw = Draw([(seed + pictures) % SEEDS], image_params)
            with limits():
                for step in engine.draw_behind([prefix], draw, size, rows * columns, 1):
                    yield image_step(step, draw)
            drawn = engine.prompts.drawn(step.codes)
            written += drawn
            cache.reserve(len(ids) + len(written) + params.max_new_tokens - position)
            prefix = prefill(backbone, drawn, cache)
    finally:
        engine.prompt_cache.keep(ids + written, cache)
