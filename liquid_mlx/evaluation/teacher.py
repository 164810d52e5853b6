"""Sequences drawn from a model, and what a model predicts at every place of given sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from liquid_mlx.errors import UsageError
from liquid_mlx.generation.answer import check_length, stream_text
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.likelihood import code_logits
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import limits
from liquid_mlx.params import SEEDS, ImageParams, TextParams

if TYPE_CHECKING:
    from liquid_mlx.generation.engine import Engine
    from liquid_mlx.model import Liquid

CAPTION_TOKENS = 64
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Drawn:
    """A prompt, codes int32 [rows, columns] drawn or encoded for it, and a caption of these."""

    prompt: str
    codes: np.ndarray
    caption: str


@dataclass
class Logits:
    """Float32 logits at every place of one sequence, before what stands there was known.

    Attributes:
        conditional, unconditional: [codes, n_codes], behind the prompt and behind none.
        text: [caption's tokens + 1, text ids], behind the codes; the last is for the end.
    """

    conditional: np.ndarray
    unconditional: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Ids:
    """How a model reads one sequence: the ids of three contexts, and what follows each.

    ``codes`` are codes, all else token ids.
    """

    prompt: list[int]
    unconditional: list[int]
    codes: list[int]
    picture: list[int]
    caption: list[int]


def unconditional_codes(liquid: Liquid, count: int, seed: int, progress: Progress) -> np.ndarray:
    """Codes int32 [count, rows, columns] sampled without a prompt, at temperature 1."""
    size = liquid.config.sizes[0]
    rows, columns = liquid.config.grid(size)
    ids = liquid.prompts.unconditional(size)
    check_length(liquid.engine, len(ids) + rows * columns)
    params = ImageParams(guidance=1.0, temperature=1.0, top_k=0, top_p=1.0)
    draw = Draw([(seed + i) % SEEDS for i in range(count)], params)
    with limits():
        for step in liquid.engine.draw([ids], draw, size, rows * columns, 1):
            progress("drawing without a prompt", step.position, step.total)
    return step.codes.reshape(count, rows, columns)


def caption_codes(liquid: Liquid, codes: np.ndarray, seed: int, temperature: float = 1.0) -> str:
    """A caption sampled for codes; "" if the model ends at once."""
    shared, rest = liquid.prompts.caption(codes)
    params = TextParams(max_new_tokens=CAPTION_TOKENS, temperature=temperature)
    return "".join(s.text for s in stream_text(liquid.engine, shared, rest, params, seed)).strip()


def own_prompts(liquid: Liquid, count: int, seed: int, progress: Progress) -> list[str]:
    """Prompts from the model itself: captions of pictures that it draws without a prompt.

    Raises:
        UsageError: it captions none of them.
    """
    prompts: list[str] = []
    for i, codes in enumerate(unconditional_codes(liquid, count, seed, progress)):
        progress("captioning", i, count)
        text = caption_codes(liquid, codes, seed + i) or caption_codes(liquid, codes, 0, 0.0)
        prompts += [text] if text else []
    if not prompts:
        raise UsageError("The model captions nothing that it draws: give --prompts.")
    return [prompts[i % len(prompts)] for i in range(count)]


def draw_sequences(
    liquid: Liquid, prompts: Sequence[str], seed: int, guidance: float | None, progress: Progress
) -> list[Drawn]:
    """A picture of every prompt with the model's own settings, and a sampled caption of it."""
    seeds = [(seed + i) % SEEDS for i in range(len(prompts))]
    drawn: list[np.ndarray] = []
    for step in liquid.stream_images(prompts, seeds=seeds, guidance=guidance):
        progress("drawing", step.first * step.total + step.position, len(prompts) * step.total)
        if step.position == step.total:
            drawn += list(step.step.codes.reshape(-1, *liquid.config.grid(liquid.config.sizes[0])))
    found = []
    for i, (prompt, codes) in enumerate(zip(prompts, drawn, strict=True)):
        progress("captioning", i, len(prompts))
        text = caption_codes(liquid, codes, seeds[i]) or prompt
        found.append(Drawn(prompt, codes, text))
    return found


def encode_pairs(
    liquid: Liquid, pairs: Sequence[tuple[ImageSource, str]], progress: Progress
) -> list[Drawn]:
    """Pictures with captions of one's own, as sequences."""
    found = []
    for i, (picture, text) in enumerate(pairs):
        progress("encoding", i, len(pairs))
        found.append(Drawn(text, liquid.codes(picture), text))
    return found


def token_ids(liquid: Liquid, sequence: Drawn) -> Ids:
    """How the model reads a sequence."""
    size, prompts = liquid.config.sizes[0], liquid.prompts
    shared, rest = prompts.caption(sequence.codes)
    return Ids(
        prompts.draw(sequence.prompt, size),
        prompts.unconditional(size),
        sequence.codes.reshape(-1).tolist(),
        [*shared, *rest],
        prompts.reply(sequence.caption),
    )


def predict(liquid: Liquid, ids: Ids) -> Logits:
    """The model's logits along a sequence, all places of a context in one forward pass each."""
    engine, codes = liquid.engine, len(ids.codes)
    check_length(engine, max(len(ids.prompt) + codes, len(ids.picture) + len(ids.caption)))
    with limits():
        return Logits(
            _of_codes(engine, ids.prompt, ids.codes),
            _of_codes(engine, ids.unconditional, ids.codes),
            _of_text(engine, ids.picture, ids.caption),
        )


def _of_codes(engine: Engine, context: list[int], codes: list[int]) -> np.ndarray:
    """Logits [codes, n_codes] behind a prompt."""
    pieces = code_logits(engine, prefill(engine.backbone, context), np.array([codes]))
    return np.concatenate([np.array(piece[0]) for piece in pieces])


def _of_text(engine: Engine, context: list[int], text: list[int]) -> np.ndarray:
    """Logits [len(text) + 1, text ids]: for each of a text's ids, and for what follows them."""
    prefix = prefill(engine.backbone, context)
    prefix.cache.reserve(prefix.cache.offset + len(text))
    hidden = engine.backbone(mx.array([text]), prefix.cache)
    states = mx.concatenate([prefix.hidden, hidden], axis=1)[0]
    return np.array(engine.text_head(states).astype(mx.float32))


@dataclass
class Difference:
    """Of two distributions at some places: sums over the places."""

    kl: np.ndarray  # [places], in nats
    agree: np.ndarray  # [places], whether both have the same first choice


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """How far the second's distributions are from the first's: logits [places, n] each."""
    a, b = log_softmax(first), log_softmax(second)
    kl = (np.exp(a) * (a - b)).sum(axis=-1)
    return Difference(np.maximum(kl, 0), first.argmax(axis=-1) == second.argmax(axis=-1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64."""
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=-1, keepdims=True)))


def negative_log_likelihood(text: np.ndarray, ids: Ids, stop: Sequence[int]) -> float:
    """Of a caption and its end, from the text's logits: in nats, over len(caption) + 1 places."""
    logs = log_softmax(text)
    written = logs[np.arange(len(ids.caption)), ids.caption].sum()
    end = np.logaddexp.reduce(logs[-1, list(stop)])
    return float(-(written + end))
