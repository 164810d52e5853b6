"""From ids to text: one answer as typed steps, or many answers of one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from liquid_mlx.config import Size
from liquid_mlx.display import brief
from liquid_mlx.errors import PromptError, SettingsError
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.interleaved import stream_interleaved
from liquid_mlx.generation.text import batches
from liquid_mlx.images import ImageSource
from liquid_mlx.params import ImageParams, TextParams, seeds_for
from liquid_mlx.prompts import Message, Prompts, content_parts, texts_of
from liquid_mlx.results import CodesStep, ImageStep, TextStep

MAX_CHOICES = 1000  # each is read behind the question


def check_length(engine: Engine, length: int) -> None:
    """Raise PromptError if ``length`` tokens are more than the model's context."""
    context = engine.config.backbone.max_position_embeddings
    if length > context:
        raise PromptError(
            f"The prompt is too long: it needs {length} tokens and the model takes {context}."
        )


def within_context(engine: Engine, length: int, params: TextParams) -> TextParams:
    """The settings with as many new tokens as fit behind a prompt of ``length`` tokens."""
    check_length(engine, length + 1)
    free = engine.config.backbone.max_position_embeddings - length
    return replace(params, max_new_tokens=min(params.max_new_tokens, free))


def stream_text(
    engine: Engine, shared: list[int], rest: list[int], params: TextParams, seed: int
) -> Iterator[TextStep]:
    """An answer behind ``shared + rest``, a step for every token; the last one tells why it ends.

    Raises:
        PromptError: the prompt is too long; before the first step.
    """
    prompt_tokens = len(shared) + len(rest)
    fitting = within_context(engine, prompt_tokens, params)

    def steps() -> Iterator[TextStep]:
        complete = engine.prompts.decoder()
        written = engine.write(shared, [rest], fitting, [seed])
        for position, (token,) in enumerate(written, 1):
            assert token is not None
            if token in engine.stop:
                yield TextStep("", token, position, "stop", prompt_tokens, position - 1)
            elif position == fitting.max_new_tokens:
                text = complete(token)
                yield TextStep(text, token, position, "length", prompt_tokens, position)
            else:
                yield TextStep(complete(token), token, position)

    return steps()


def answer_together(
    engine: Engine,
    shared: list[int],
    rests: Sequence[list[int]],
    params: TextParams,
    seeds: Sequence[int],
    batch_size: int,
) -> list[str]:
    """The answers behind ``shared + rest`` for every rest, in order, ``batch_size`` at once.

    Raises:
        PromptError: one of the prompts is too long; none is answered.
    """
    fitting = [within_context(engine, len(shared) + len(rest), params) for rest in rests]
    texts = [""] * len(rests)
    for batch in batches(rests, [f.max_new_tokens for f in fitting], batch_size):
        rows = [(i, engine.prompts.decoder()) for i in batch]
        written = engine.write(
            shared, [rests[i] for i in batch], fitting[batch[0]], [seeds[i] for i in batch]
        )
        for tokens in written:
            for (i, complete), token in zip(rows, tokens, strict=True):
                if token is not None and token not in engine.stop:
                    texts[i] += complete(token)
    return texts


class Answering(ABC):
    """The half of ``Liquid`` that writes text: answers, captions, chat, and their scores."""

    prompts: Prompts

    @property
    @abstractmethod
    def engine(self) -> Engine: ...

    @abstractmethod
    def encode(self, picture: ImageSource, *, fit: str = "pad", exif: bool = True) -> np.ndarray:
        """VQ codes of a picture: int32 [rows, columns]."""

    @abstractmethod
    def _batch_size(self, length: int) -> int:
        """How many sequences of ``length`` tokens are answered at once."""

    @abstractmethod
    def _image_step(self, step: CodesStep, prompt: str, draw: Draw, size: Size) -> ImageStep:
        """A step of drawing a picture that answers a prompt, with its settings."""

    def answer(
        self,
        picture: ImageSource,
        question: str,
        *,
        exif: bool = True,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """Answer a question about a picture; see ``stream_answer``.

        Examples:
            >>> from liquid_mlx import load
            >>> from PIL import Image
            >>> red = Image.new("RGB", (64, 64), "red")
            >>> isinstance(load("demo").answer(red, "What is it?", max_tokens=8), str)
            True
        """
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return _joined(self._stream_answer(picture, question, exif, params, seed))

    def stream_answer(
        self,
        picture: ImageSource,
        question: str,
        *,
        exif: bool = True,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[TextStep]:
        """Answer a question about a picture, yielding a step per token.

        Args:
            picture: a path, bytes of a file, a PIL image, an array uint8 [H, W, 3], or a drawn
                picture.
            exif: turn phone photos upright.
            max_tokens: the longest answer.
            temperature: 0 is greedy; then top_k, top_p and the seed do not matter.
            top_k: sample among the k likeliest tokens (0: all).
            top_p: nucleus sampling among the likeliest tokens of this share of probability.
            seed: 0 to 2**32 - 1; None draws one.
        """
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return self._stream_answer(picture, question, exif, params, seed)

    def _stream_answer(
        self,
        picture: ImageSource,
        question: str,
        exif: bool,
        params: TextParams,
        seed: int | None,
    ) -> Iterator[TextStep]:
        shared, rest = self.prompts.question(self.encode(picture, exif=exif), question)
        return self._stream_text(shared, rest, params, seed)

    def _stream_text(
        self, shared: list[int], rest: list[int], params: TextParams, seed: int | None
    ) -> Iterator[TextStep]:
        return stream_text(self.engine, shared, rest, params, seeds_for(seed, 1)[0])

    def answers(
        self,
        picture: ImageSource,
        questions: Sequence[str],
        *,
        exif: bool = True,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | Sequence[int] | None = None,
    ) -> list[str]:
        """Answer several questions about a picture at once; the answers in order.

        Every step reads the weights once for all questions, which is what bounds it in large
        models. In float32 the answers are those of ``answer``; in bfloat16 a batch may round
        differently, so that near-ties can fall the other way.

        Args:
            picture: a path, bytes of a file, a PIL image, an array uint8 [H, W, 3], or a drawn
                picture.
            questions: as many as you like; up to 16 are answered at once, fewer if memory is short.
            seed: question i is sampled with ``seed + i`` (modulo 2**32), or its own of a list.

        The other arguments are those of ``stream_answer``.

        Raises:
            PromptError: one of the questions is empty or too long; none is answered.
        """
        questions = texts_of(questions, "questions")
        if not questions:
            return []
        params = _text_params(max_tokens, temperature, top_k, top_p)
        codes = self.encode(picture, exif=exif)
        prompts = [self.prompts.question(codes, question) for question in questions]
        shared, rests = prompts[0][0], [rest for _, rest in prompts]
        length = len(shared) + max(map(len, rests)) + params.max_new_tokens
        length = min(length, self.engine.config.backbone.max_position_embeddings)
        seeds = seeds_for(seed, len(rests))
        return answer_together(self.engine, shared, rests, params, seeds, self._batch_size(length))

    def score(
        self, picture: ImageSource, question: str, answer: str, *, exif: bool = True
    ) -> float:
        """Natural log of the probability that the model gives this answer and then stops."""
        return self._scores(picture, question, [answer], exif)[0]

    def choose(
        self, picture: ImageSource, question: str, choices: Sequence[str], *, exif: bool = True
    ) -> dict[str, float]:
        """Probability of each choice, given that the answer is one of them; likeliest first.

        Raises:
            SettingsError: there are fewer than two choices, too many, or one of them twice.

        Examples:
            >>> from liquid_mlx import load
            >>> liquid = load("demo")
            >>> (picture,) = liquid.generate_image("a red circle", seed=7)
            >>> shares = liquid.choose(picture, "What colour is it?", ["blue", "red"])
            >>> list(shares)
            ['red', 'blue']
            >>> round(sum(shares.values()), 6)
            1.0
        """
        choices = texts_of(choices, "choices")
        if not 2 <= len(choices) <= MAX_CHOICES or len(set(choices)) < len(choices):
            raise SettingsError(
                f"Choices are two or more different answers, at most {MAX_CHOICES}, not "
                f"{brief(choices, 200)}."
            )
        scores = np.array(self._scores(picture, question, choices, exif))
        shares = np.exp(scores - scores.max())
        ranked = zip(choices, (shares / shares.sum()).tolist(), strict=True)
        return dict(sorted(ranked, key=lambda pair: -pair[1]))

    def _scores(
        self, picture: ImageSource, question: str, answers: Sequence[str], exif: bool
    ) -> list[float]:
        replies = [self.prompts.reply(answer) for answer in answers]
        shared, rest = self.prompts.question(self.encode(picture, exif=exif), question)
        check_length(self.engine, len(shared) + len(rest) + max(map(len, replies)))
        return self.engine.score(shared, rest, replies)

    def caption(
        self,
        picture: ImageSource,
        *,
        exif: bool = True,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """Describe a picture; the arguments are those of ``stream_answer``."""
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return _joined(self._stream_caption(picture, exif, params, seed)).strip()

    def stream_caption(
        self,
        picture: ImageSource,
        *,
        exif: bool = True,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[TextStep]:
        """Describe a picture, yielding a step per token; arguments as in ``stream_answer``."""
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return self._stream_caption(picture, exif, params, seed)

    def _stream_caption(
        self, picture: ImageSource, exif: bool, params: TextParams, seed: int | None
    ) -> Iterator[TextStep]:
        shared, rest = self.prompts.caption(self.encode(picture, exif=exif))
        return self._stream_text(shared, rest, params, seed)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        pictures: Mapping[int, np.ndarray] | None = None,
        image_params: ImageParams | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """The text of the model's next turn; see ``stream_chat``, which has its pictures, too.

        Examples:
            >>> from liquid_mlx import load
            >>> liquid = load("demo")
            >>> (picture,) = liquid.generate_image("a red circle", seed=7)
            >>> talk = [{"role": "user", "content": [picture, "What colour is it?"]}]
            >>> "red" in liquid.chat(talk).lower()
            True
        """
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return _joined(self._stream_chat(messages, pictures, params, image_params, seed))

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        pictures: Mapping[int, np.ndarray] | None = None,
        image_params: ImageParams | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[TextStep | ImageStep]:
        """The model's next turn, yielding a TextStep per token.

        Models whose config says ``interleaved`` may draw within it: then an ImageStep per code
        follows, the last of which has the picture (``images()``), and then text again. In later
        turns it belongs into the message's content, in its place.

        Args:
            messages: ``{"role": "user" | "assistant", "content": ...}``, user first. The content
                is a text, or a list of texts and of pictures' codes.
            pictures: codes (as from ``encode``) of a picture before message i's text.
            image_params: how pictures in the answer are drawn; None is the model's own.
            max_tokens: the longest answer; a picture counts as one token.

        The other arguments are those of ``stream_answer``.
        """
        params = _text_params(max_tokens, temperature, top_k, top_p)
        return self._stream_chat(messages, pictures, params, image_params, seed)

    def _stream_chat(
        self,
        messages: Sequence[Message],
        pictures: Mapping[int, np.ndarray] | None,
        params: TextParams,
        image_params: ImageParams | None,
        seed: int | None,
    ) -> Iterator[TextStep | ImageStep]:
        ids, config = self.prompts.chat(messages, pictures), self.engine.config
        if not config.interleaved:
            return self._stream_text([], ids, params, seed)
        last = content_parts(messages[-1]["content"])
        prompt = "".join(part for part in last if isinstance(part, str))
        size = config.sizes[0]
        return stream_interleaved(
            self.engine,
            ids,
            within_context(self.engine, len(ids), params),
            image_params or config.recommended,
            seeds_for(seed, 1)[0],
            lambda step, draw: self._image_step(step, prompt, draw, size),
        )


def _text_params(max_tokens: int, temperature: float, top_k: int, top_p: float) -> TextParams:
    return TextParams(max_new_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p)


def _joined(steps: Iterator[TextStep] | Iterator[TextStep | ImageStep]) -> str:
    return "".join(step.text for step in steps if isinstance(step, TextStep))
