"""The work behind a request, as generators on the thread of the models.

Each yields events (``events.py``), None where it waits for the next step of the batch, and Aside
where it waits for pixels.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx._version import __version__
from liquid_mlx.errors import PromptError
from liquid_mlx.generation.answer import check_length, within_context
from liquid_mlx.memory import limits
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import SEEDS
from liquid_mlx.results import GeneratedImage, ImageSettings, ImageStep
from liquid_mlx.server.batch import log_probabilities, token_logs
from liquid_mlx.server.events import (
    Aside,
    Chosen,
    FinishedImage,
    PartialImage,
    TextEnd,
    TextPiece,
    Token,
)
from liquid_mlx.server.models import Loaded, until
from liquid_mlx.server.requests import Best, Edit, PictureSettings, TextSettings, Turn
from liquid_mlx.server.scheduler import Job, ordered
from liquid_mlx.server.sequences import ImageSequence, TextSequence, TokenLogs
from liquid_mlx.server.text import StopText

PIECE = 64  # prompt tokens whose log-probabilities are computed at once


def partial_rows(total: int, wanted: int) -> list[int]:
    """After which rows of codes a picture is shown: ``wanted`` times, one a row at the most."""
    wanted = min(wanted, total - 1)
    return [math.floor(total * (i + 1) / (wanted + 1)) for i in range(wanted)]


@ordered
def draw(index: int, prompt: str, seed: int, settings: PictureSettings) -> Job:
    """A new picture, drawn in the batch."""

    def job(model: Loaded) -> Iterator[object]:
        liquid = model.liquid
        size = liquid.config.size(settings.width, settings.height)
        rows, columns = liquid.config.grid(size)
        params = settings.params(liquid.config.recommended)
        ids = liquid.prompts.draw(prompt, size)
        sequence = ImageSequence(ids, params, seed, size, rows * columns, settings.entropy)
        yield from _join(model, sequence)
        shown = partial_rows(rows, settings.partial_images)
        growing: deque[tuple[int, Future[Image.Image]]] = deque()
        sides, sent = (size.width, size.height), 0
        try:
            while not sequence.done or growing:
                yield Aside() if sequence.done else None
                done = len(sequence.tokens) // columns
                if sent + len(growing) < len(shown) and shown[sent + len(growing)] <= done < rows:
                    so_far = _grid(sequence.tokens[: done * columns], columns)
                    growing.append((done, model.decode(so_far)))
                while growing and growing[0][1].done():
                    there, image = growing.popleft()
                    yield PartialImage(index, sent, there, rows, image.result(), sides)
                    sent += 1
        finally:
            model.batch.remove(sequence)
            for _, image in growing:
                image.cancel()
        picture = yield from _finished(model, sequence, prompt)
        yield FinishedImage(index, picture, len(ids), sequence.entropies)

    return job


def _finished(
    model: Loaded, sequence: ImageSequence, prompt: str
) -> Generator[Aside, None, GeneratedImage]:
    """The picture of a sequence that is done."""
    size, backbone = sequence.size, model.liquid.engine.backbone
    codes = _grid(sequence.tokens, model.liquid.config.grid(size)[1])
    made = ImageSettings(
        prompt=prompt,
        seed=sequence.seed,
        width=size.width,
        height=size.height,
        model=model.name,
        dtype=str(backbone.dtype).removeprefix("mlx.core."),
        version=__version__,
        **asdict(sequence.params),
    )
    return GeneratedImage((yield from until(model.decode(codes))), codes, made)


@ordered
def best(prompt: str, seed: int, count: int, how: Best, settings: PictureSettings) -> Job:
    """``count`` pictures, each the best of several by the model's own judgement."""

    def job(model: Loaded) -> Iterator[object]:
        steps = model.liquid.stream_image(
            prompt,
            count=count,
            seed=seed,
            width=settings.width,
            height=settings.height,
            best_of=how.candidates,
            judge=how.judge,
            keep_all=how.keep_all,
            **_sampling(settings),
        )
        yield from _steps(model, steps, settings)

    return job


@ordered
def edit(prompt: str, seed: int, count: int, what: Edit, settings: PictureSettings) -> Job:
    """``count`` pictures of which a part stays as it is."""

    def job(model: Loaded) -> Iterator[object]:
        steps = model.liquid.stream_edit(
            what.picture,
            prompt,
            count=count,
            seed=seed,
            rows=what.rows,
            mask=what.mask,
            candidates=what.candidates,
            **_sampling(settings),
        )
        yield from _steps(model, steps, settings)

    return job


@ordered
def vary(
    picture: bytes,
    prompt: str | None,
    seed: int,
    count: int,
    strength: float,
    settings: PictureSettings,
) -> Job:
    """``count`` pictures that are like one."""

    def job(model: Loaded) -> Iterator[object]:
        steps = model.liquid.stream_vary(
            picture,
            strength=strength,
            prompt=prompt,
            count=count,
            seed=seed,
            **_sampling(settings),
        )
        yield from _steps(model, steps, settings)

    return job


def _sampling(settings: PictureSettings) -> dict[str, Any]:
    """The settings that every way of drawing takes."""
    names = ("guidance", "temperature", "top_k", "top_p")
    return {name: getattr(settings, name) for name in names}


def _steps(
    model: Loaded, steps: Iterator[ImageStep], settings: PictureSettings
) -> Iterator[object]:
    """The events of pictures that the library draws, in the batch: a step in each round."""
    liquid = model.liquid
    seen: set[tuple[int, int, int]] = set()  # batches, and the rows that were shown of them
    before: int | None = None  # rows that were there at the beginning
    for step in steps:
        total = step.total // step.columns
        done = step.position // step.columns
        before = done if before is None else before
        if step.position == step.total:
            for index, picture in enumerate((yield from _pictures(model, step)), step.first):
                made = picture.settings
                size = liquid.config.size(made.width, made.height)
                ids = liquid.prompts.draw(made.prompt, size, made.instruction)
                thought = liquid.statistics(picture) if settings.entropy else None
                entropies = [] if thought is None else thought.entropy.reshape(-1).tolist()
                yield FinishedImage(index, picture, len(ids), entropies)
        elif done > before and (step.first, step.drawn, done) not in seen:
            shown = partial_rows(total, settings.partial_images)
            if done in shown:
                seen.add((step.first, step.drawn, done))
                for index, picture in enumerate((yield from _pictures(model, step)), step.first):
                    sides = (picture.settings.width, picture.settings.height)
                    number = shown.index(done)
                    yield PartialImage(index, number, done, total, picture.image, sides)
        yield None


def _pictures(model: Loaded, step: ImageStep) -> Generator[Aside, None, list[GeneratedImage]]:
    """``step.images()``, decoded beside the steps."""
    rows = step.position // step.columns
    grids = np.atleast_2d(step.codes)[:, : rows * step.columns].reshape(-1, rows, step.columns)
    pending = [model.decode(codes) for codes in grids]
    found = []
    for codes, settings, pixels in zip(grids, step.settings, pending, strict=True):
        found.append(GeneratedImage((yield from until(pixels)), codes, settings))
    return found


@ordered
def answer(turns: Sequence[Turn], seed: int, settings: TextSettings) -> Job:
    """The model's next turn, in which it draws if it has learned that."""

    def job(model: Loaded) -> Iterator[object]:
        ids = yield from _chat(model, turns)
        if model.liquid.config.interleaved:
            asked = "".join(part.text for part in turns[-1].parts)
            yield from _mixed(model, ids, asked, seed, settings)
        else:
            yield from _write(model, ids, seed, settings)

    return job


def _chat(model: Loaded, turns: Sequence[Turn]) -> Generator[Aside, None, list[int]]:
    """Token ids of a conversation, up to the model's next turn."""
    messages = []
    for turn in turns:
        content: list[str | np.ndarray] = []
        for part in turn.parts:
            if part.picture is None:
                content.append(part.text)
            else:
                codes = yield from model.codes(part.picture, turn.role == "assistant")
                content.append(codes)
        messages.append({"role": turn.role, "content": content})
    return model.liquid.prompts.chat(messages)


def _write(model: Loaded, ids: list[int], seed: int, settings: TextSettings) -> Iterator[object]:
    """What follows token ids, piece by piece."""
    engine, text = model.liquid.engine, StopText(settings.stop)
    params = within_context(engine, len(ids), settings.params)
    sequence = TextSequence(ids, params, seed, engine.stop, settings.top)
    written, waiting = yield from _pieces(model, sequence, text)
    rest = text.end()
    if rest or waiting:
        yield TextPiece(rest, waiting)
    stopped = text.found or (bool(sequence.tokens) and sequence.tokens[-1] in sequence.stop)
    yield TextEnd("stop" if stopped else "length", len(ids), written)


def _mixed(
    model: Loaded, ids: list[int], asked: str, seed: int, settings: TextSettings
) -> Iterator[object]:
    """What follows token ids, pictures among the text: as ``stream_interleaved`` has it."""
    liquid, text = model.liquid, StopText(settings.stop)
    config, engine, boi = liquid.config, liquid.engine, liquid.prompts.opened()[0]
    params = within_context(engine, len(ids), settings.params)
    size = config.sizes[0]
    codes = math.prod(config.grid(size))
    answer: list[int] = []  # its ids
    waiting: list[Token] = []
    position = pictures = written = 0
    reason: Literal["stop", "length"] | None = None
    while reason is None:
        free = config.backbone.max_position_embeddings - len(ids) - len(answer)
        some = replace(params, max_new_tokens=min(params.max_new_tokens - position, free))
        sequence = TextSequence(
            [*ids, *answer], some, seed, {*engine.stop, boi}, settings.top, position
        )
        count, more = yield from _pieces(model, sequence, text)
        written, waiting = written + count, [*waiting, *more]
        answer += sequence.tokens
        position += len(sequence.tokens)
        room = free - len(sequence.tokens) - codes - 1
        if text.found or answer[-1] in engine.stop:
            reason = "stop"
        elif answer[-1] != boi or room <= 0 or len(sequence.tokens) == some.max_new_tokens:
            reason = "length"
        else:
            pictures += 1
            own, known = (seed + pictures) % SEEDS, [*ids, *answer]
            drawn = ImageSequence(known, config.recommended, own, size, codes, answering=True)
            yield from _join(model, drawn)
            try:
                while not drawn.done:
                    yield None
            finally:
                model.batch.remove(drawn)
            picture = yield from _finished(model, drawn, asked)
            yield FinishedImage(pictures - 1, picture, 0)
            answer += liquid.prompts.drawn(picture.codes)
            written += codes
    rest = text.end()
    if rest or waiting:
        yield TextPiece(rest, waiting)
    yield TextEnd(reason, len(ids), written)


def _join(model: Loaded, sequence: ImageSequence | TextSequence) -> Iterator[None]:
    """Let a sequence into the batch, once there is room."""
    while not model.batch.fits(sequence):
        yield None
    model.batch.add(sequence)


def _pieces(
    model: Loaded, sequence: TextSequence, text: StopText
) -> Generator[TextPiece | None, None, tuple[int, list[Token]]]:
    """The text of a sequence, as far as it may be shown.

    Returns:
        How many of its tokens are text, and those whose text is held back.
    """
    complete = model.liquid.prompts.decoder()
    taken = written = 0
    waiting: list[Token] = []
    yield from _join(model, sequence)
    try:
        while not text.found:
            if taken == len(sequence.tokens):
                if sequence.done:
                    break
                yield None
                continue
            token = sequence.tokens[taken]
            taken += 1
            if token in sequence.stop:
                break
            written += 1
            if sequence.top is not None:
                waiting.append(_token(model, token, sequence.logs[taken - 1]))
            piece = text.add(complete(token))
            if piece:
                yield TextPiece(piece, waiting)
                waiting = []
    finally:
        model.batch.remove(sequence)
    return written, waiting


@ordered
def caption(picture: bytes, seed: int, settings: TextSettings) -> Job:
    """A description of a picture, in the words that the model was trained with."""

    def job(model: Loaded) -> Iterator[object]:
        codes = yield from model.codes(picture, False)
        shared, rest = model.liquid.prompts.caption(codes)
        yield from _write(model, [*shared, *rest], seed, settings)

    return job


@ordered
def complete(
    prompt: str | Sequence[int], seed: int, echo: bool, most: int, settings: TextSettings
) -> Job:
    """What follows a text or token ids, without a template; with ``echo`` behind the prompt.

    Args:
        most: how many tokens to write; 0 only looks at the prompt, and then ``settings.params``
            says nothing.
    """

    def job(model: Loaded) -> Iterator[object]:
        liquid = model.liquid
        ids = liquid.prompts.continued(prompt) if isinstance(prompt, str) else list(prompt)
        last = liquid.config.backbone.vocab_size - 1
        if not ids or min(ids) < 0 or max(ids) > last:
            raise PromptError(f"Token ids lie in 0 to {last}, and there must be one.")
        check_length(liquid.engine, len(ids) + most)
        if echo:
            text = liquid.prompts.decode(ids) if not isinstance(prompt, str) else prompt
            tokens: list[Token] = []
            if settings.top is not None:
                logs = yield from _prompt_logs(model, ids, settings.top)
                tokens = [_token(model, ids[0], None)]
                tokens += [_token(model, i, log) for i, log in zip(ids[1:], logs, strict=True)]
            yield TextPiece(text, tokens)
        if most:
            params = replace(settings.params, max_new_tokens=most)
            yield from _write(model, ids, seed, replace(settings, params=params))
        else:
            yield TextEnd("length", len(ids), 0)

    return job


def _prompt_logs(
    model: Loaded, ids: list[int], top: int
) -> Generator[object, None, list[TokenLogs]]:
    """Log-probabilities of all token ids but the first; returns a list of TokenLogs."""
    engine = model.liquid.engine
    backbone, head = engine.backbone, engine.backbone.head()
    cache = KVCache.empty(backbone.config, 1, len(ids), backbone.dtype)
    found: list[TokenLogs] = []
    for start in range(0, len(ids), PIECE):
        with limits():
            piece = ids[start : start + PIECE]
            hidden = backbone(mx.array([piece]), cache)[0]
            following = mx.array(ids[start + 1 : start + 1 + PIECE], mx.uint32)
            if following.size:
                logits = head(hidden[: following.size])
                found += token_logs(*log_probabilities(logits, following, max(top, 1)))
            mx.eval(cache.layers)
        yield None
    engine.prompt_cache.keep(ids, cache)
    return found


@ordered
def choose(turns: Sequence[Turn], choices: Sequence[str]) -> Job:
    """How likely each choice is as the model's next turn, if it is one of them."""

    def job(model: Loaded) -> Iterator[object]:
        liquid = model.liquid
        ids = yield from _chat(model, turns)
        replies = [liquid.prompts.reply(choice) for choice in choices]
        check_length(liquid.engine, len(ids) + max(map(len, replies)))
        yield None
        scores = np.array(liquid.engine.score([], ids, replies))
        shares = np.exp(scores - scores.max())
        ranked = zip(choices, (shares / shares.sum()).tolist(), strict=True)
        yield Chosen(dict(sorted(ranked, key=lambda pair: -pair[1])), len(ids))

    return job


def _token(model: Loaded, token: int, logs: TokenLogs | None) -> Token:
    name = model.liquid.prompts.token
    top = [] if logs is None else [(name(i), log) for i, log in logs.top]
    return Token(token, name(token), logs, top)


def _grid(tokens: Sequence[int], columns: int) -> np.ndarray:
    return np.array(tokens, np.int32).reshape(-1, columns)
