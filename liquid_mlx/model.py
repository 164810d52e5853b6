"""The one object that users hold: a loaded model that draws, answers and chats."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx import images
from liquid_mlx._version import __version__
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.errors import ImageError, PromptError, SettingsError
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.jacobi import Window, check_window
from liquid_mlx.generation.sampling import check_settings
from liquid_mlx.generation.text import BATCH, batches, score_ids
from liquid_mlx.hub import DEMO, resolve
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import decoder_bytes, fitting, kv_bytes, limits, require, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.prompts import Prompts
from liquid_mlx.results import GeneratedImage, ImageSettings, ImageStep, TextStep
from liquid_mlx.weights import load_backbone, load_vqgan

SEEDS = 2**32


def load(
    model: str | Path = DEMO,
    *,
    dtype: str | None = None,
    revision: str | None = None,
    low_ram: bool = False,
) -> Liquid:
    """Load a converted model.

    Args:
        model: ``"demo"`` (bundled), a converted folder, or a Hugging Face repo id.
        dtype: "float32", "bfloat16" or "float16"; default the stored one (float32 on a CPU).
        revision: branch, tag or commit of a repo.
        low_ram: free the language model before pixels are decoded; it is read again when needed.

    Raises:
        LiquidError: the model is missing, damaged, not a converted one, or too large for memory.
    """
    folder = resolve(model, revision)
    config = LiquidConfig.read(folder)
    read = partial(load_backbone, folder, config, dtype)
    return Liquid(
        config,
        read(),
        load_vqgan(folder, config),
        Prompts.read(folder, config),
        name=str(model),
        reload=read if low_ram else None,
    )


class Liquid:
    """A model in memory; ``load`` makes one. ``config`` describes it."""

    def __init__(
        self,
        config: LiquidConfig,
        backbone: Backbone,
        vqgan: VQGAN,
        prompts: Prompts,
        name: str = "",
        reload: Callable[[], Backbone] | None = None,
    ):
        self.config = config
        self.name = name
        self.prompts = prompts
        self._dtype = backbone.dtype
        self.vqgan = vqgan
        self._reload = reload
        self._held: Engine | None = Engine(backbone, config, prompts)
        turn = config.special.get("end_of_turn")
        self._stop = {*config.eos_ids, *([] if turn is None else [turn])}
        self._seen: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def engine(self) -> Engine:
        """The language model, read again if ``low_ram`` has freed it."""
        if self._held is None and self._reload is not None:
            self._held = Engine(self._reload(), self.config, self.prompts)
        assert self._held is not None
        return self._held

    def _free(self) -> None:
        """With ``low_ram``: let the language model go."""
        if self._reload is not None:
            self._held = None
        mx.clear_cache()

    # Pictures

    def generate_image(self, prompt: str, **settings: Any) -> list[GeneratedImage]:
        """Draw pictures of a prompt; takes the arguments of ``stream_image``."""
        for step in self.stream_image(prompt, **settings):
            last = step
        return last.images()

    def stream_image(
        self,
        prompt: str,
        *,
        count: int = 1,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        width: int | None = None,
        height: int | None = None,
        window: Window = 1,
    ) -> Iterator[ImageStep]:
        """Draw pictures of a prompt, yielding a step per code; the last step has the pictures.

        Args:
            count: pictures to draw at once. Picture i has the seed ``seed + i`` (modulo 2**32),
                with which it can also be drawn alone.
            seed: 0 to 2**32 - 1; None draws one.
            guidance: how strongly the prompt steers; 1 or less is off.
            temperature: 0 takes the likeliest code at each place.
            top_k: draw among the k likeliest codes (0: all).
            top_p: draw among the likeliest codes that make up this share of probability.
            width, height: pixels; one of the model's sizes. None: the first that fits.
            window: codes tried per step, 1 to 8, with the same picture (see
                ``generation/jacobi.py``); "auto" times them once on this machine.

        Settings left out are the model's recommended ones. Bad ones raise SettingsError, an
        empty or overlong prompt PromptError, too little memory LowMemoryError, before the first
        step.
        """
        recommended = self.config.recommended
        draw = Draw(
            seeds=_seeds(seed, count),
            guidance=recommended.guidance if guidance is None else guidance,
            temperature=recommended.temperature if temperature is None else temperature,
            top_k=recommended.top_k if top_k is None else top_k,
            top_p=recommended.top_p if top_p is None else top_p,
        )
        check_settings(temperature=draw.temperature, top_k=draw.top_k, top_p=draw.top_p)
        if not 0 <= draw.guidance < float("inf"):
            raise SettingsError(f"guidance is {draw.guidance}: use 1 (off) or more, such as 7.")
        check_window(window)
        size = self.config.size(width, height)
        rows, columns = self.config.grid(size)
        ids = self.prompts.draw(prompt, size)
        self._check_length(len(ids) + rows * columns)
        self._check_memory(count * (1 + (draw.guidance > 1)), len(ids) + rows * columns, size)
        return self._stream_image(prompt, ids, draw, size, window)

    def _stream_image(
        self, prompt: str, ids: list[int], draw: Draw, size: Size, window: Window
    ) -> Iterator[ImageStep]:
        rows, columns = self.config.grid(size)
        settings = [
            ImageSettings(
                prompt=prompt,
                seed=seed,
                guidance=draw.guidance,
                temperature=draw.temperature,
                top_k=draw.top_k,
                top_p=draw.top_p,
                width=size.width,
                height=size.height,
                model=self.name,
                dtype=str(self._dtype).removeprefix("mlx.core."),
                version=__version__,
            )
            for seed in draw.seeds
        ]
        with limits():
            for step in self.engine.draw(ids, draw, size, rows * columns, window):
                if step.position < step.total:
                    yield ImageStep(step, columns, settings, self.decode)
        self._free()
        yield ImageStep(step, columns, settings, self.decode)

    def _check_memory(self, rows: int, length: int, size: Size) -> None:
        """Refuse a drawing whose weights, keys and values, and decoder do not fit."""
        model = {"weights": weight_bytes(self.engine.backbone, self._dtype)}
        keys = {"keys and values": kv_bytes(self.config.backbone, rows, length, self._dtype)}
        pixels = {"image tokenizer": weight_bytes(self.vqgan, mx.float32)}
        decoding = {"decoding": decoder_bytes(self.config.vqgan, size.width, size.height)}
        fewer = "draw fewer pictures at once, or convert the model to fewer bits"
        if self._reload is None:
            advice = f"load it with low_ram (--low-ram), {fewer}"
            require(model | keys | pixels | decoding, advice)
        else:
            require(model | keys | pixels, fewer)
            require(pixels | decoding, "draw a smaller picture")

    def encode(self, picture: ImageSource, *, fit: str = "pad", exif: bool = True) -> np.ndarray:
        """VQ codes of a picture: int32 [rows, columns], 0 to n_codes - 1.

        Args:
            picture: a path, bytes of a file, or a PIL image.
            fit: "pad" to a square (understanding) or "crop" its centre (training pictures).
            exif: turn phone photos upright; False is the reference's behaviour.

        Raises:
            ImageError: it is not a picture, or one too large.
        """
        pixels = images.load_pixels(picture, self.config.vqgan.resolution, fit=fit, exif=exif)
        if self._seen is None or not np.array_equal(self._seen[0], pixels):
            codes = self.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
            self._seen = pixels, np.array(codes, dtype=np.int32)
        return self._seen[1].copy()

    def decode(self, codes: np.ndarray) -> Image.Image:
        """The picture of codes int [rows, columns]; any grid."""
        codes = np.asarray(codes)
        n_codes = self.config.vqgan.n_embed
        if codes.ndim != 2 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
            raise ImageError(f"Codes are whole numbers [rows, columns], not {codes.shape}.")
        if codes.min() < 0 or codes.max() >= n_codes:
            raise ImageError(f"Codes lie in 0 to {n_codes - 1}; these reach {codes.max()}.")
        pixels = self.vqgan.decode(mx.array(codes.astype(np.int32))[None])[0]
        return images.to_image(np.array(pixels))

    # Text

    def answer(self, picture: ImageSource, question: str, **settings: Any) -> str:
        """Answer a question about a picture; takes the arguments of ``stream_answer``."""
        return "".join(step.text for step in self.stream_answer(picture, question, **settings))

    def answers(
        self,
        picture: ImageSource,
        questions: Sequence[str],
        *,
        exif: bool = True,
        max_tokens: int = 256,
        seed: int | Sequence[int] | None = None,
        **settings: Any,
    ) -> list[str]:
        """Answer several questions about a picture at once; the answers in order.

        Every step reads the weights once for all questions, which is what bounds it in large
        models. In float32 the answers are those of ``answer``; in bfloat16 a batch may round
        differently, so that near-ties can fall the other way.

        Args:
            picture: a path, bytes of a file, or a PIL image.
            questions: as many as you like; up to 16 are answered at once, fewer if memory is short.
            seed: question i is drawn with ``seed + i`` (modulo 2**32), or with its own of a list.
            settings: as in ``stream_answer``.

        Raises:
            PromptError: one of the questions is empty or too long; none is answered.
        """
        if isinstance(questions, str):
            raise PromptError("The questions are a single text: give a list of texts.")
        if not questions:
            return []
        codes = self.encode(picture, exif=exif)
        prompts = [self.prompts.question(codes, question) for question in questions]
        shared, rests = prompts[0][0], [rest for _, rest in prompts]
        sampling = _sampling(**settings)
        budgets = [self._max_new_tokens(len(shared) + len(rest), max_tokens) for rest in rests]
        seeds = _seeds(seed, len(rests))
        longest = len(shared) + max(map(len, rests)) + max(budgets)
        texts = [""] * len(rests)
        for batch in batches(rests, budgets, self._rows(longest)):
            steps = self.engine.write(
                shared,
                [rests[i] for i in batch],
                budgets[batch[0]],
                seeds=[seeds[i] for i in batch],
                stop=self._stop,
                **sampling,
            )
            rows = [(i, self.prompts.decoder()) for i in batch]
            for tokens in steps:
                for (i, complete), token in zip(rows, tokens, strict=True):
                    if token is not None:
                        texts[i] += complete(token)
        return texts

    def _rows(self, length: int) -> int:
        """How many sequences of ``length`` tokens are answered at once."""
        used = weight_bytes(self.engine.backbone, self._dtype)
        used += weight_bytes(self.vqgan, mx.float32)
        return fitting(used, kv_bytes(self.config.backbone, 1, length, self._dtype), BATCH)

    def stream_answer(
        self, picture: ImageSource, question: str, *, exif: bool = True, **settings: Any
    ) -> Iterator[TextStep]:
        """Answer a question about a picture, yielding pieces of text.

        Args:
            picture: a path, bytes of a file, or a PIL image.
            settings: ``max_tokens=256, temperature=0.0, top_k=0, top_p=1.0, seed=None``.
        """
        codes = self.encode(picture, exif=exif)
        return self._stream_text(*self.prompts.question(codes, question), **settings)

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
            SettingsError: there are fewer than two choices, or one of them twice.
        """
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise SettingsError(f"Choices are two or more different answers, not {list(choices)}.")
        scores = np.array(self._scores(picture, question, choices, exif))
        shares = np.exp(scores - scores.max())
        ranked = zip(choices, (shares / shares.sum()).tolist(), strict=True)
        return dict(sorted(ranked, key=lambda pair: -pair[1]))

    def _scores(
        self, picture: ImageSource, question: str, answers: Sequence[str], exif: bool
    ) -> list[float]:
        """The picture and the question are read once for all answers."""
        replies = [self.prompts.reply(answer) for answer in answers]
        shared, rest = self.prompts.question(self.encode(picture, exif=exif), question)
        max_new_tokens = max(len(reply) for reply in replies)
        self._check_length(len(shared) + len(rest) + max_new_tokens)
        engine = self.engine
        prefix = engine.prompt_cache.read(shared, rest, max_new_tokens)
        try:
            return [
                score_ids(engine.backbone, engine.text_head, prefix, reply, self._stop)
                for reply in replies
            ]
        finally:
            engine.prompt_cache.keep(shared + rest, prefix.cache)

    def caption(self, picture: ImageSource, **settings: Any) -> str:
        """Describe a picture; takes the arguments of ``stream_caption``."""
        return "".join(step.text for step in self.stream_caption(picture, **settings)).strip()

    def stream_caption(
        self, picture: ImageSource, *, exif: bool = True, **settings: Any
    ) -> Iterator[TextStep]:
        """Describe a picture, yielding pieces of text; settings as in ``stream_answer``."""
        codes = self.encode(picture, exif=exif)
        return self._stream_text(*self.prompts.caption(codes), **settings)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> str:
        """The model's next turn; takes the arguments of ``stream_chat``."""
        return "".join(step.text for step in self.stream_chat(messages, **settings))

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        pictures: Mapping[int, np.ndarray] | None = None,
        **settings: Any,
    ) -> Iterator[TextStep]:
        """The model's next turn, yielding pieces of text.

        Args:
            messages: ``{"role": "user" | "assistant", "content": text}``, user first.
            pictures: codes (as from ``encode``) of the picture that message i shows.
            settings: as in ``stream_answer``.
        """
        return self._stream_text([], self.prompts.chat(messages, pictures), **settings)

    def _stream_text(
        self,
        shared: list[int],
        rest: list[int],
        *,
        max_tokens: int = 256,
        seed: int | None = None,
        **settings: Any,
    ) -> Iterator[TextStep]:
        sampling = _sampling(**settings)
        max_new_tokens = self._max_new_tokens(len(shared) + len(rest), max_tokens)
        seeds = _seeds(seed, 1)
        complete = self.prompts.decoder()
        written = self.engine.write(
            shared, [rest], max_new_tokens, seeds=seeds, stop=self._stop, **sampling
        )
        return (
            TextStep(complete(token), token, position)
            for position, (token,) in enumerate(written, 1)
            if token is not None
        )

    def _max_new_tokens(self, length: int, max_tokens: int) -> int:
        """How many tokens of an answer fit behind a prompt of ``length`` tokens."""
        if max_tokens < 1:
            raise SettingsError(f"max_tokens is {max_tokens}: use 1 or more.")
        self._check_length(length + 1)
        return min(max_tokens, self.config.backbone.max_position_embeddings - length)

    def logits(self, token_ids: Sequence[int]) -> mx.array:
        """Logits behind every one of token ids [T]: float32 [T, vocabulary]."""
        ids = np.asarray(token_ids).reshape(-1).tolist()
        if not ids or min(ids) < 0 or max(ids) >= self.config.backbone.vocab_size:
            raise PromptError(f"Token ids lie in 0 to {self.config.backbone.vocab_size - 1}.")
        self._check_length(len(ids))
        backbone = self.engine.backbone
        cache = KVCache.empty(self.config.backbone, 1, len(ids), self._dtype)
        return backbone.head()(backbone(mx.array([ids]), cache)[0])

    def _check_length(self, length: int) -> None:
        context = self.config.backbone.max_position_embeddings
        if length > context:
            raise PromptError(
                f"The prompt is too long: it needs {length} tokens and the model takes {context}."
            )


def _sampling(
    temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0
) -> dict[str, float | int]:
    """Settings of answers, checked."""
    check_settings(temperature=temperature, top_k=top_k, top_p=top_p)
    return {"temperature": temperature, "top_k": top_k, "top_p": top_p}


def _seeds(seed: int | Sequence[int] | None, count: int) -> list[int]:
    """One seed for each: ``seed + i``, modulo 2**32, or those that are given."""
    if count < 1:
        raise SettingsError(f"count is {count}: use 1 or more.")
    if seed is None:
        seed = secrets.randbelow(SEEDS)
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    for one in seeds:
        if not 0 <= one < SEEDS:
            raise SettingsError(f"seed is {one}: use 0 to {SEEDS - 1}.")
    if not isinstance(seed, Sequence):
        return [(seed + i) % SEEDS for i in range(count)]
    if len(seeds) != count:
        raise SettingsError(f"There are {len(seeds)} seeds for {count}: give one for each.")
    return seeds
