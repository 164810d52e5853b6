"""What drawing returns: a picture that owns its pixels, codes and settings, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx.images import HoldsImage, save_png
from liquid_mlx.params import ImageParams, integer

MAX_SCALE = 64


@dataclass(frozen=True, kw_only=True)
class ImageSettings(ImageParams):
    """All that made an image; the same settings, machine and version make it again.

    ``instruction`` is the number of the reference's instruction behind the prompt, 1 to 10.
    ``steered`` says what was done beside: "edit" (which cells were kept), "variation", "best_of".
    """

    prompt: str
    seed: int
    width: int
    height: int
    model: str
    dtype: str
    version: str
    instruction: int = 1
    steered: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the prompt and its seed first; adapters only where there are some."""
        values = asdict(self)
        adapters = {"adapters": list(self.adapters)} if values.pop("adapters") else {}
        steered = values.pop("steered")
        return {"prompt": self.prompt, "seed": self.seed, **values, **steered, **adapters}


@dataclass(frozen=True, repr=False, eq=False)
class GeneratedImage(HoldsImage):
    """A drawn picture: ``image``, its ``codes`` int32 [rows, columns], and its ``settings``.

    Notebooks show it; ``Liquid.answer`` and all that takes a picture takes it.
    """

    image: Image.Image
    codes: np.ndarray
    settings: ImageSettings

    def save(
        self, path: str | Path, metadata: bool = True, overwrite: bool = True, *, scale: int = 1
    ) -> None:
        """Write a PNG, whole or not at all, with settings and codes unless ``metadata=False``.

        ``overwrite=False`` raises ImageError rather than replace a file. ``scale`` enlarges it so
        many times, each pixel to a square: for models of small images.
        """
        scale = integer("scale", scale, 1, MAX_SCALE, f"use 1 to {MAX_SCALE}")
        size = self.image.width * scale, self.image.height * scale
        image = self.image.resize(size, Image.Resampling.NEAREST)
        settings = self.settings.to_dict() if metadata else None
        save_png(image, path, settings, self.codes, overwrite)

    def _repr_png_(self) -> bytes | None:
        """The file that a notebook shows."""
        png: bytes | None = self.image._repr_png_()
        return png

    def __repr__(self) -> str:
        settings, size = self.settings, "{}x{}".format(*self.image.size)
        return f"<GeneratedImage {size} {settings.prompt!r:.60} seed {settings.seed}>"


@dataclass(frozen=True)
class CodesStep:
    """``position`` of ``total`` codes are drawn."""

    position: int
    total: int
    tokens: Sequence[mx.array]

    @property
    def codes(self) -> np.ndarray:
        """The codes so far, int32 [count, position], row by row of the grid."""
        drawn = mx.stack(list(self.tokens[: self.position]), axis=1)
        return np.array(drawn.astype(mx.int32))


@dataclass(frozen=True)
class ImageStep:
    """``position`` of ``total`` codes of every picture are drawn.

    Of many prompts, which are drawn batch by batch, the pictures are those of the prompts from
    ``first`` on; ``drawn`` counts all that will have been drawn when this batch is, those too
    that lose against others of their prompt.
    """

    step: CodesStep
    columns: int
    settings: Sequence[ImageSettings]
    decode: Callable[[np.ndarray], Image.Image]
    first: int = 0
    drawn: int = 1

    @property
    def position(self) -> int:
        return self.step.position

    @property
    def total(self) -> int:
        return self.step.total

    @property
    def codes(self) -> np.ndarray:
        """The codes so far, row by row: int32 [position], or [count, position] of many pictures."""
        codes = self.step.codes
        return codes[0] if len(codes) == 1 else codes

    def images(self) -> list[GeneratedImage]:
        """The pictures; before the last step, their finished rows of codes as smaller pictures.

        A picture of fewer rows is decoded as it stands: near its lower edge it may differ a
        little from the whole. Before the first row is finished the list is empty.
        """
        rows = self.position // self.columns
        if not rows:
            return []
        grids = self.step.codes[:, : rows * self.columns].reshape(-1, rows, self.columns)
        return [
            GeneratedImage(self.decode(codes), codes, settings)
            for codes, settings in zip(grids, self.settings, strict=True)
        ]


@dataclass(frozen=True)
class TextStep:
    """A piece of an answer: the text that a new token completes ("" inside a character).

    The last step has the ``finish_reason``: "stop" if its token ends the answer (and adds no
    text), "length" if there was no room for more; and how many tokens prompt and answer have.
    """

    text: str
    token: int
    position: int
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
