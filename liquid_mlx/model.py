"""The one object that users hold: a loaded model that draws, answers and chats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx import images, memory
from liquid_mlx._version import __version__
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.errors import ImageError, PromptError, UsageError
from liquid_mlx.generation.answer import Answering, check_length
from liquid_mlx.generation.editing import fit_to, given_codes
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.jacobi import Window, check_window
from liquid_mlx.generation.text import BATCH
from liquid_mlx.hub import DEMO, resolve
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import decoder_bytes, fitting, kv_bytes, limits, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.params import MAX_COUNT, ImageParams, integer, seeds_for
from liquid_mlx.prompts import Prompts
from liquid_mlx.results import CodesStep, GeneratedImage, ImageSettings, ImageStep
from liquid_mlx.weights import load_backbone, load_vqgan

MOST_IMAGES = 64  # drawn at once unless asked for
SAME_PIXEL = 2  # of 255: other machines decode the same codes almost alike


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


class Liquid(Answering):
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

    # Images

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

    def codes(self, picture: ImageSource | np.ndarray, size: Size | None = None) -> np.ndarray:
        """Codes int32 [rows, columns] for a picture of one of the model's sizes (None: its first).

        Codes are checked and returned. A PNG that this model drew has its own inside, which count
        if they are what its pixels show. Any other picture is fitted to the size and encoded.

        Raises:
            ImageError: it is not a picture, or codes of another shape or range.
        """
        shape = self.config.grid(size := size or self.config.sizes[0])
        if isinstance(picture, np.ndarray):
            if picture.shape != shape:
                raise ImageError(f"Codes of {size} are {list(shape)}, not {list(picture.shape)}.")
            images.check_codes(picture, self.config.vqgan.n_embed)
            return picture.astype(np.int32)
        own = images.read_codes(picture, shape)
        image = images.load_image(picture)
        pixels = fit_to(image, size.width, size.height)
        if own is not None and own.max() < self.config.vqgan.n_embed:
            shown = np.asarray(self.decode(own)).astype(int)
            if np.abs(shown - pixels).max() <= SAME_PIXEL:
                return own
        codes = self.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
        return np.array(codes, dtype=np.int32)

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
        memory.require_drawing(need, low_ram=self._reload is not None)

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
            with limits():
                codes = self.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
                self._seen = pixels, np.array(codes, dtype=np.int32)
        return self._seen[1].copy()

    def decode(self, codes: np.ndarray) -> Image.Image:
        """The image of codes int [rows, columns], 0 to n_codes - 1; any grid that memory holds.

        Raises:
            ImageError: they are not such codes.
            LowMemoryError: their image is too large to be decoded here.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2:
            raise ImageError(f"Codes are whole numbers [rows, columns], not {codes.shape}.")
        images.check_codes(codes, self.config.vqgan.n_embed)
        rows, columns = codes.shape
        side = self.config.vqgan.factor
        need = decoder_bytes(self.config.vqgan, columns * side, rows * side)
        memory.require({"decoding": need}, "decode a smaller grid of codes")
        with limits():
            pixels = self.vqgan.decode(mx.array(codes.astype(np.int32))[None])[0]
            return images.to_image(np.array(pixels))

    def _batch_size(self, length: int) -> int:
        """How many sequences of ``length`` tokens are answered at once."""
        used = weight_bytes(self.engine.backbone, self._dtype)
        used += weight_bytes(self.vqgan, mx.float32)
        return fitting(used, kv_bytes(self.config.backbone, 1, length, self._dtype), BATCH)

    def logits(self, token_ids: Sequence[int]) -> mx.array:
        """Logits behind every one of token ids [T]: float32 [T, vocabulary]."""
        ids = np.asarray(token_ids).reshape(-1).tolist()
        if not ids or min(ids) < 0 or max(ids) >= self.config.backbone.vocab_size:
            raise PromptError(f"Token ids lie in 0 to {self.config.backbone.vocab_size - 1}.")
        check_length(self.engine, len(ids))
        backbone = self.engine.backbone
        cache = KVCache.empty(self.config.backbone, 1, len(ids), self._dtype)
        with limits():
            logits = backbone.head()(backbone(mx.array([ids]), cache)[0])
            mx.eval(logits)
        return logits
