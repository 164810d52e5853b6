"""The half of ``Liquid`` that draws: pictures of one prompt or of many, new or edited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx import memory
from liquid_mlx._version import __version__
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.errors import PromptError, UsageError
from liquid_mlx.generation.answer import check_length
from liquid_mlx.generation.editing import given_codes
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.jacobi import Window, check_window
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import limits, weight_bytes
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.params import MAX_COUNT, ImageParams, integer, seeds_for
from liquid_mlx.prompts import Prompts
from liquid_mlx.results import CodesStep, GeneratedImage, ImageSettings, ImageStep

MOST_IMAGES = 64  # drawn at once unless asked for


class Drawing(ABC):
    """What draws; the model itself is that of the class which inherits this."""

    config: LiquidConfig
    name: str
    prompts: Prompts
    vqgan: VQGAN
    _low_ram: bool  # free the language model before pixels are decoded
    _dtype: mx.Dtype  # of the language model, also while it is not in memory

    @property
    @abstractmethod
    def engine(self) -> Engine: ...

    @abstractmethod
    def _free(self) -> None:
        """With ``low_ram``: let the language model go."""

    @abstractmethod
    def codes(self, picture: ImageSource | np.ndarray, size: Size | None = None) -> np.ndarray:
        """Codes int32 [rows, columns] for a picture of one of the model's sizes."""

    @abstractmethod
    def decode(self, codes: np.ndarray) -> Image.Image:
        """The image of codes int [rows, columns]."""

    def generate_image(
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
        keep: ImageSource | np.ndarray | None = None,
        rows: int | None = None,
        mask: np.ndarray | ImageSource | None = None,
        window: Window = 1,
    ) -> list[GeneratedImage]:
        """Generate images from a prompt; see ``stream_image``."""
        for step in self.stream_image(
            prompt,
            count=count,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            width=width,
            height=height,
            keep=keep,
            rows=rows,
            mask=mask,
            window=window,
        ):
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
        keep: ImageSource | np.ndarray | None = None,
        rows: int | None = None,
        mask: np.ndarray | ImageSource | None = None,
        window: Window = 1,
    ) -> Iterator[ImageStep]:
        """Generate images from a prompt, yielding a step per token; the last has the images.

        Args:
            count: images to draw at once. Image i has the seed ``seed + i`` (modulo 2**32),
                with which it can also be drawn alone.
            seed: 0 to 2**32 - 1; None draws one.
            guidance: scale of classifier-free guidance; 1 or less is off.
            temperature: 0 is greedy.
            top_k: sample among the k likeliest tokens (0: all).
            top_p: nucleus sampling among the likeliest tokens of this share of probability.
            width, height: pixels; one of the model's sizes. None: the first that fits.
            keep: a picture, or its codes int [rows, columns], of which a part stays exactly; the
                rest is drawn under the prompt, row by row. A PNG of ours brings its own codes.
            rows: how many of its rows of codes stay, from the top.
            mask: instead of rows: what is drawn anew, as bool [rows, columns] of codes or as a
                picture, white or transparent there. Nothing looks ahead: what is drawn knows the
                codes that stay before it, and not those behind.
            window: tokens tried per step, 1 to 8, with the same image (see
                ``generation/jacobi.py``); "auto" times them once on this machine.

        Settings left out are the model's recommended ones. Bad ones raise SettingsError, an
        empty or overlong prompt PromptError, too little memory LowMemoryError, before any step.
        """
        params = self._image_params(guidance, temperature, top_k, top_p)
        seeds = seeds_for(seed, count)  # refuses a count before any list is that long
        given = self._given(keep, rows, mask, window, self.config.size(width, height))
        prompts, sides = [prompt] * len(seeds), (width, height)
        return self._stream_images(prompts, seeds, params, sides, window, len(seeds), given)

    def generate_images(
        self,
        prompts: Sequence[str],
        *,
        seeds: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        width: int | None = None,
        height: int | None = None,
        window: Window = 1,
    ) -> list[GeneratedImage]:
        """Generate an image of every prompt, in order; see ``stream_images``."""
        steps = self.stream_images(
            prompts,
            seeds=seeds,
            batch_size=batch_size,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            width=width,
            height=height,
            window=window,
        )
        done = (step for step in steps if step.position == step.total)
        return [image for step in done for image in step.images()]

    def stream_images(
        self,
        prompts: Sequence[str],
        *,
        seeds: int | Sequence[int] | None = None,
        batch_size: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        width: int | None = None,
        height: int | None = None,
        window: Window = 1,
    ) -> Iterator[ImageStep]:
        """Generate an image of every prompt, many at once, yielding a step per token of a batch.

        A step's ``first`` is the place of its first image among the prompts; the last step of
        each batch has the batch's images. In float32 they are those of ``stream_image``.

        Args:
            prompts: of any lengths; one may be there several times, with different seeds.
            seeds: one for each, or one from which to count (modulo 2**32); None draws one.
            batch_size: images to draw at once; None: as many as fit memory, up to 64.

        The other arguments, and errors, are those of ``stream_image``.
        """
        if isinstance(prompts, str):
            raise PromptError("The prompts are a single text: give a list of texts.")
        if not prompts:
            return iter(())
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, 1, MAX_COUNT, f"use 1 to {MAX_COUNT}")
        prompts = list(prompts)
        params = self._image_params(guidance, temperature, top_k, top_p)
        drawn = seeds_for(seeds, len(prompts))
        return self._stream_images(prompts, drawn, params, (width, height), window, batch_size)

    def _image_params(
        self,
        guidance: float | None,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
    ) -> ImageParams:
        """The settings, those left out as the model recommends."""
        own = self.config.recommended
        return ImageParams(
            guidance=own.guidance if guidance is None else guidance,
            temperature=own.temperature if temperature is None else temperature,
            top_k=own.top_k if top_k is None else top_k,
            top_p=own.top_p if top_p is None else top_p,
        )

    def _stream_images(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        params: ImageParams,
        wanted: tuple[int | None, int | None],
        window: Window,
        batch_size: int | None,
        given: np.ndarray | None = None,
    ) -> Iterator[ImageStep]:
        """Check everything, then draw batch after batch."""
        check_window(window)
        size = self.config.size(*wanted)
        rows, columns = self.config.grid(size)
        ids = {prompt: self.prompts.draw(prompt, size) for prompt in dict.fromkeys(prompts)}
        length = max(map(len, ids.values())) + rows * columns
        check_length(self.engine, length)
        each = 1 + (params.guidance > 1)
        if batch_size is None:
            used = weight_bytes(self.engine.backbone, self._dtype)
            used += weight_bytes(self.vqgan, mx.float32)
            batch_size = memory.images_at_once(
                self.config, used, each, length, size, self._dtype, MOST_IMAGES
            )
        self._check_memory(min(batch_size, len(prompts)) * each, length, size)

        def steps() -> Iterator[ImageStep]:
            for first in range(0, len(prompts), batch_size):
                batch = prompts[first : first + batch_size]
                different = list(dict.fromkeys(batch))  # each is read once
                draw = Draw(
                    seeds[first : first + batch_size],
                    params,
                    [different.index(prompt) for prompt in batch],
                    given,
                )
                read = [ids[prompt] for prompt in different]
                settings = self._settings(batch, draw, size)
                with limits():
                    for step in self.engine.draw(read, draw, size, rows * columns, window):
                        if step.position < step.total:
                            yield ImageStep(step, columns, settings, self.decode, first)
                self._free()
                yield ImageStep(step, columns, settings, self.decode, first)

        return steps()

    def _given(
        self,
        keep: ImageSource | np.ndarray | None,
        rows: int | None,
        mask: np.ndarray | ImageSource | None,
        window: Window,
        size: Size,
    ) -> np.ndarray | None:
        """The codes that an edit keeps, or None if nothing is edited."""
        if keep is None:
            if rows is not None or mask is not None:
                raise UsageError("rows and mask need a picture to keep.")
            return None
        if window != 1:
            raise UsageError("window and keep cannot be combined.")
        return given_codes(self.codes(keep, size), rows, mask)

    def _image_step(
        self, step: CodesStep, prompts: Sequence[str], draw: Draw, size: Size
    ) -> ImageStep:
        """A step of drawing a picture of each prompt, with their settings."""
        settings = self._settings(prompts, draw, size)
        return ImageStep(step, self.config.grid(size)[1], settings, self.decode)

    def _settings(self, prompts: Sequence[str], draw: Draw, size: Size) -> list[ImageSettings]:
        return [
            ImageSettings(
                prompt=prompt,
                seed=seed,
                width=size.width,
                height=size.height,
                model=self.name,
                dtype=str(self._dtype).removeprefix("mlx.core."),
                version=__version__,
                **asdict(draw.params),
            )
            for prompt, seed in zip(prompts, draw.seeds, strict=True)
        ]

    def _check_memory(self, batch_size: int, length: int, size: Size) -> None:
        """Refuse a drawing whose weights, keys and values, and decoder do not fit."""
        need = memory.drawing(
            self.config,
            weight_bytes(self.engine.backbone, self._dtype),
            weight_bytes(self.vqgan, mx.float32),
            batch_size,
            length,
            size,
            self._dtype,
        )
        memory.require_drawing(need, low_ram=self._low_ram)
