"""The half of drawing that begins with a picture: edits, variations, and what the model thought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liquid_mlx import images
from liquid_mlx.config import Size
from liquid_mlx.errors import UsageError
from liquid_mlx.generation.answer import stream_text
from liquid_mlx.generation.best_of import Judge
from liquid_mlx.generation.drawing.batches import Job
from liquid_mlx.generation.drawing.drawing import Drawing, pictures_of
from liquid_mlx.generation.drawing.editing import kept_cells
from liquid_mlx.generation.drawing.statistics import CodeStatistics, code_statistics
from liquid_mlx.generation.likelihood import code_log_probabilities
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import limits
from liquid_mlx.params import ImageParams, TextParams, integer, number, seeds_for
from liquid_mlx.prompts import INSTRUCTIONS
from liquid_mlx.results import GeneratedImage, ImageStep

CAPTION_TOKENS = 64


@dataclass(frozen=True)
class Start:
    """A picture to begin with: its codes int32 [rows, columns], and the settings inside, if any."""

    codes: np.ndarray
    size: Size
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_prompt(self) -> Any:
        return self.settings.get("prompt")

    @property
    def instruction(self) -> int:
        found = self.settings.get("instruction", 1)
        return integer("instruction", found, 1, len(INSTRUCTIONS), "use 1 to 10")


class Steering(Drawing):
    """The public methods that begin with a picture.

    A picture is a path, bytes of a file, a PIL image, codes int [rows, columns], or what drawing
    returned. Of a PNG that this program wrote the codes and settings inside count, if they are
    what its pixels show.
    """

    def edit(
        self,
        picture: ImageSource,
        prompt: str,
        *,
        rows: int | None = None,
        mask: np.ndarray | ImageSource | None = None,
        candidates: int = 1,
        judge: Judge = "question",
        count: int = 1,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        instruction: int = 1,
    ) -> list[GeneratedImage]:
        """Redraw a part of a picture; see ``stream_edit``."""
        steps = self.stream_edit(
            picture,
            prompt,
            rows=rows,
            mask=mask,
            candidates=candidates,
            judge=judge,
            count=count,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            instruction=instruction,
        )
        return pictures_of(steps)

    def stream_edit(
        self,
        picture: ImageSource,
        prompt: str,
        *,
        rows: int | None = None,
        mask: np.ndarray | ImageSource | None = None,
        candidates: int = 1,
        judge: Judge = "question",
        count: int = 1,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        instruction: int = 1,
    ) -> Iterator[ImageStep]:
        """Redraw a part of a picture, yielding a step per token.

        The picture's size stays, if it is one of the model's; else its centre is fitted to the
        model's first.

        Args:
            prompt: of the whole picture, as it is to be.
            rows: how many of its rows of codes stay, from the top; or
            mask: what is drawn anew, as bool [rows, columns] of codes or as a picture, white or
                transparent there.
            candidates: pictures drawn of each, of which the best is kept.
            judge: how it is found, see ``BestOf``; "kept" looks for the hole, nothing of which
                looks ahead, behind which the codes that stay are likeliest.

        The other arguments, and errors, are those of ``stream_image``.
        """
        start = self._start(picture)
        return self.stream_image(
            prompt,
            count=count,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            width=start.size.width,
            height=start.size.height,
            keep=start.codes,
            rows=rows,
            mask=mask,
            best_of=candidates,
            judge=judge,
            instruction=instruction,
        )

    def vary(
        self,
        picture: ImageSource,
        *,
        strength: float,
        prompt: str | None = None,
        count: int = 1,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[GeneratedImage]:
        """Draw pictures that are like one; see ``stream_vary``."""
        steps = self.stream_vary(
            picture,
            strength=strength,
            prompt=prompt,
            count=count,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return pictures_of(steps)

    def stream_vary(
        self,
        picture: ImageSource,
        *,
        strength: float,
        prompt: str | None = None,
        count: int = 1,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Iterator[ImageStep]:
        """Draw pictures that are like one, yielding a step per token.

        A picture that this model drew, new and with noise, is drawn again, with new noise at a
        share ``strength`` of its positions. Of any other picture that share of the codes is
        redrawn which the model finds least likely under the prompt.

        Args:
            strength: 0 (the same picture) to 1 (a new one).
            prompt: None is the picture's own, or else the model's caption of it.
            count: variations to draw; number i has the seed ``seed + i`` (modulo 2**32).
            seed: of the new noise; None draws one.

        The other settings, where left out, are the picture's own, else the model's.
        """
        strength = number("strength", strength, 0, 1, "use 0 (the same) to 1 (a new picture)")
        seeds = seeds_for(seed, count)
        start = self._start(picture)
        params = self._image_params(guidance, temperature, top_k, top_p, start.settings)
        prompts = [self._prompt_of(start, prompt)] * count
        same = {"model": self.name, "dtype": str(self._dtype).removeprefix("mlx.core.")}
        adapters = start.settings.get("adapters", [])
        if (
            params.temperature > 0
            and all(start.settings.get(name) == value for name, value in same.items())
            and adapters == list(self.adapters)
            and not {"edit", "variation"} & set(start.settings)
        ):
            (own,) = seeds_for(start.settings.get("seed"), 1)
            return self._stream(
                Job(
                    prompts,
                    [own] * count,
                    params,
                    start.size,
                    instruction=start.instruction,
                    renewing=seeds,
                    strength=strength,
                )
            )
        return self._redraw_surprising(start, prompts, seeds, params, strength)

    def _redraw_surprising(
        self,
        start: Start,
        prompts: list[str],
        seeds: list[int],
        params: ImageParams,
        strength: float,
    ) -> Iterator[ImageStep]:
        """Variations of a picture whose noise is not known."""
        ids = self.prompts.draw(prompts[0], start.size, start.instruction)
        codes = start.codes.reshape(-1)
        with limits():
            prefix = prefill(self.engine.backbone, ids)
            logs = code_log_probabilities(self.engine, prefix, codes[None])[0]
        given = codes.copy()
        given[np.argsort(logs, kind="stable")[: round(strength * codes.size)]] = -1
        job = Job(
            prompts,
            seeds,
            params,
            start.size,
            instruction=start.instruction,
            given=given,
            steered={
                "variation": {"strength": strength},
                "edit": {"kept": kept_cells(given, start.codes.shape)},
            },
        )
        if (given < 0).any():
            return self._stream(job)
        pictures = list(enumerate(seeds))
        return iter([self._finished(job, np.stack([codes] * len(seeds)), pictures, len(seeds))])

    def statistics(
        self,
        picture: ImageSource,
        prompt: str | None = None,
        *,
        guidance: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        instruction: int | None = None,
    ) -> CodeStatistics:
        """What the model thought at each code of a picture, or would have thought of any other.

        Args:
            prompt: None is the picture's own, or else the model's caption of it.

        The other settings, where left out, are the picture's own, else the model's.
        """
        start = self._start(picture)
        params = self._image_params(guidance, temperature, top_k, top_p, start.settings)
        number = start.instruction if instruction is None else instruction
        number = integer("instruction", number, 1, len(INSTRUCTIONS), "use 1 to 10")
        ids = self.prompts.draw(self._prompt_of(start, prompt), start.size, number)
        return code_statistics(self.engine, ids, start.size, params, start.codes)

    def _start(self, picture: ImageSource) -> Start:
        """A picture's codes, and what is known of how it was drawn."""
        sizes = self.config.sizes
        if isinstance(picture, GeneratedImage):
            settings = picture.settings.to_dict()
            size = self.config.size(picture.settings.width, picture.settings.height)
            return Start(self.codes(picture.codes, size), size, settings)
        if isinstance(picture, np.ndarray):
            alike = [size for size in sizes if self.config.grid(size) == picture.shape]
            size = alike[0] if alike else sizes[0]
            return Start(self.codes(picture, size), size)
        width, height = images.load_image(picture).size
        size = next((s for s in sizes if (s.width, s.height) == (width, height)), sizes[0])
        codes = self.codes(picture, size)
        own = images.read_codes(picture, codes.shape)
        if own is None or not np.array_equal(own, codes):
            return Start(codes, size)
        return Start(codes, size, images.find_settings(picture) or {})

    def _prompt_of(self, start: Start, prompt: str | None) -> str:
        """The prompt given, else the picture's own, else the model's caption."""
        if prompt is not None or start.own_prompt is not None:
            return str(start.own_prompt if prompt is None else prompt)
        shared, rest = self.prompts.caption(start.codes)
        params = TextParams(max_new_tokens=CAPTION_TOKENS)
        steps = stream_text(self.engine, shared, rest, params, 0)
        caption = "".join(step.text for step in steps).strip()
        if not caption:
            raise UsageError("The picture has no prompt inside: give one.")
        return caption
