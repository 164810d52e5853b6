"""The half of ``Liquid`` that draws: pictures of one prompt or of many, new or edited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from liquid_mlx.config import Size
from liquid_mlx.errors import UsageError
from liquid_mlx.generation.best_of import BestOf, Judge
from liquid_mlx.generation.drawing.batches import Batches, Job
from liquid_mlx.generation.drawing.editing import given_codes, kept_cells
from liquid_mlx.generation.jacobi import Window
from liquid_mlx.images import ImageSource
from liquid_mlx.params import MAX_COUNT, SEEDS, ImageParams, integer, seeds_for
from liquid_mlx.prompts import required, texts_of
from liquid_mlx.results import GeneratedImage, ImageStep

MOST_IMAGES = 64  # drawn at once unless asked for


class Drawing(Batches):
    """The public methods that draw."""

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
        best_of: int = 1,
        judge: Judge = "both",
        prune: bool = False,
        keep_all: bool = False,
        instruction: int = 1,
        window: Window = 1,
    ) -> list[GeneratedImage]:
        """Generate images from a prompt; see ``stream_image``.

        Examples:
            >>> from liquid_mlx import load
            >>> pictures = load("demo").generate_image("a red circle", count=2, seed=7)
            >>> pictures[1]
            <GeneratedImage ... 'a red circle' seed 8>
            >>> pictures[1].save("circle.png")
        """
        steps = self.stream_image(
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
            best_of=best_of,
            judge=judge,
            prune=prune,
            keep_all=keep_all,
            instruction=instruction,
            window=window,
        )
        return pictures_of(steps)

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
        best_of: int = 1,
        judge: Judge = "both",
        prune: bool = False,
        keep_all: bool = False,
        instruction: int = 1,
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
            width: in pixels; one of the model's sizes. None: the first that fits.
            height: in pixels, likewise.
            keep: a picture, or its codes int [rows, columns], of which a part stays exactly; the
                rest is drawn under the prompt, row by row. A PNG of ours brings its own codes.
            rows: how many of its rows of codes stay, from the top.
            mask: instead of rows: what is drawn anew, as bool [rows, columns] of codes or as a
                picture, white or transparent there. Nothing looks ahead: what is drawn knows the
                codes that stay before it, and not those behind.
            best_of: candidates drawn of each image, with seeds in a row; the best are the result.
            judge: how it is found: "likelihood", "question", "both", or "kept"; see ``BestOf``.
            prune: once half of the rows are drawn, draw only the better half of them on.
            keep_all: all candidates are images of the result, of each the best first.
            instruction: the words behind the prompt, 1 to 10 (``prompts.INSTRUCTIONS``).
            window: tokens tried per step, 1 to 8, with the same image (see
                ``generation/jacobi.py``); "auto" times them once on this machine.

        With ``best_of`` the steps are those of the candidates, batch by batch as in
        ``stream_images``, and a last one for the images that are kept.

        Settings left out are the model's recommended ones. Bad ones raise SettingsError, an
        empty or overlong prompt PromptError, too little memory LowMemoryError, before any step.
        """
        seeds = seeds_for(seed, count)  # refuses a count before any list is that long
        best = BestOf(best_of, judge, prune, keep_all)
        prompt = required(prompt, "prompt")
        size = self.config.size(width, height)
        given = self._given(keep, rows, mask, size)
        kept = (
            {} if given is None else {"edit": {"kept": kept_cells(given, self.config.grid(size))}}
        )
        return self._stream(
            Job(
                [prompt] * len(seeds),
                spaced(seeds, best),
                self._image_params(guidance, temperature, top_k, top_p),
                size,
                instruction=instruction,
                window=window,
                batch_size=len(seeds) if best_of == 1 else None,
                given=given,
                best_of=best,
                steered=kept,
            )
        )

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
        best_of: int = 1,
        judge: Judge = "both",
        prune: bool = False,
        keep_all: bool = False,
        instruction: int = 1,
        window: Window = 1,
    ) -> list[GeneratedImage]:
        """Generate an image of every prompt, in order; see ``stream_images``.

        Examples:
            >>> from liquid_mlx import load
            >>> liquid = load("demo")
            >>> pictures = liquid.generate_images(["a red circle", "a blue star"], seeds=[1, 2])
            >>> [picture.settings.seed for picture in pictures]
            [1, 2]
        """
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
            best_of=best_of,
            judge=judge,
            prune=prune,
            keep_all=keep_all,
            instruction=instruction,
            window=window,
        )
        return pictures_of(steps)

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
        best_of: int = 1,
        judge: Judge = "both",
        prune: bool = False,
        keep_all: bool = False,
        instruction: int = 1,
        window: Window = 1,
    ) -> Iterator[ImageStep]:
        """Generate an image of every prompt, many at once, yielding a step per token of a batch.

        A step's ``first`` is the place of its first image among the prompts; the last step of
        each batch has the batch's images. In float32 they are those of ``stream_image``.

        Args:
            prompts: of any lengths; one may be there several times, with different seeds.
            seeds: one for each, or one from which to count (modulo 2**32); None draws one. The
                candidates of ``best_of`` count on from each.
            batch_size: images to draw at once; None: as many as fit memory, up to 64.

        The other arguments, and errors, are those of ``stream_image``.
        """
        prompts = texts_of(prompts, "prompts")
        if not prompts:
            return iter(())
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size, 1, MAX_COUNT, f"use 1 to {MAX_COUNT}")
        best = BestOf(best_of, judge, prune, keep_all)
        drawn = seeds_for(seeds, len(prompts))
        return self._stream(
            Job(
                prompts,
                drawn if isinstance(seeds, Iterable) else spaced(drawn, best),
                self._image_params(guidance, temperature, top_k, top_p),
                self.config.size(width, height),
                instruction=instruction,
                window=window,
                batch_size=batch_size,
                best_of=best,
            )
        )

    def _image_params(
        self,
        guidance: float | None,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
        stored: Mapping[str, Any] | None = None,
    ) -> ImageParams:
        """The settings given, else a picture's ``stored`` ones, else what the model recommends."""
        given = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        own = {**asdict(self.config.recommended), **(stored or {})}
        found: dict[str, Any] = {
            name: own[name] if value is None else value for name, value in given.items()
        }
        return ImageParams(**found)

    def _given(
        self,
        keep: ImageSource | np.ndarray | None,
        rows: int | None,
        mask: np.ndarray | ImageSource | None,
        size: Size,
    ) -> np.ndarray | None:
        """The codes that an edit keeps, or None if nothing is edited."""
        if keep is None:
            if rows is not None or mask is not None:
                raise UsageError("rows and mask need a picture to keep.")
            return None
        return given_codes(self.codes(keep, size), rows, mask)


def spaced(seeds: Sequence[int], best: BestOf) -> list[int]:
    """Seeds in a row, with room behind each for the seeds of its candidates."""
    return [(seed + i * (best.candidates - 1)) % SEEDS for i, seed in enumerate(seeds)]


def pictures_of(steps: Iterator[ImageStep]) -> list[GeneratedImage]:
    """What the last steps of all batches have."""
    return [image for step in steps if step.position == step.total for image in step.images()]
