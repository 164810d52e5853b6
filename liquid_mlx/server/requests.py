"""What a request asks for, checked, as the jobs take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from liquid_mlx.generation.best_of import Judge
from liquid_mlx.params import ImageParams, TextParams


@dataclass(frozen=True)
class PictureSettings:
    """How pictures are drawn; what is None is the model's own."""

    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    width: int | None = None
    height: int | None = None
    partial_images: int = 0
    entropy: bool = False

    def params(self, own: ImageParams) -> ImageParams:
        """The settings, those left out as the model recommends."""
        return ImageParams(
            guidance=own.guidance if self.guidance is None else self.guidance,
            temperature=own.temperature if self.temperature is None else self.temperature,
            top_k=own.top_k if self.top_k is None else self.top_k,
            top_p=own.top_p if self.top_p is None else self.top_p,
        )


@dataclass(frozen=True)
class Part:
    """A piece of a message: a text, or a picture's file."""

    text: str = ""
    picture: bytes | None = None


@dataclass(frozen=True)
class Turn:
    """A message of the user or of the assistant."""

    role: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class TextSettings:
    """How an answer is written.

    Attributes:
        stop: texts that end it; they are not part of it.
        top: how many likeliest tokens' log-probabilities are wanted; None: none at all.
    """

    params: TextParams
    stop: Sequence[str] = ()
    top: int | None = None


@dataclass(frozen=True)
class Edit:
    """What stays of a picture: so many rows of codes, or what a mask does not show white."""

    picture: bytes
    rows: int | None = None
    mask: bytes | None = field(default=None, repr=False)
    candidates: int = 1  # drawn of each; the best is kept


@dataclass(frozen=True)
class Best:
    """How many pictures are drawn of each, and how the best one is found."""

    candidates: int
    judge: Judge = "both"
    keep_all: bool = False
