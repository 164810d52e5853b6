"""What a job tells the request that waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from liquid_mlx.results import GeneratedImage
from liquid_mlx.server.sequences import TokenLogs


@dataclass(frozen=True)
class Aside:
    """Nothing for the request: the job waits for what another thread computes."""


@dataclass(frozen=True)
class PartialImage:
    """A picture of which ``rows`` of ``total`` rows of codes are drawn, decoded as they stand."""

    picture: int
    number: int  # of the partial pictures, from 0
    rows: int
    total: int
    image: Image.Image
    size: tuple[int, int]  # of the whole


@dataclass(frozen=True)
class FinishedImage:
    """A picture that is done; ``entropies`` in nats, code by code, where asked for."""

    picture: int
    image: GeneratedImage
    prompt_tokens: int
    entropies: Sequence[float] = ()
    drawn_tokens: int | None = None  # None: all of its codes

    @property
    def tokens(self) -> int:
        return self.image.codes.size if self.drawn_tokens is None else self.drawn_tokens


@dataclass(frozen=True)
class Token:
    """One token with its log-probabilities; of a prompt's first one there are none."""

    id: int
    text: str
    logs: TokenLogs | None
    top: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class TextPiece:
    """Text that is ready to be shown, and the tokens that made it, where asked for."""

    text: str
    tokens: Sequence[Token] = ()


@dataclass(frozen=True)
class TextEnd:
    """Why an answer ends, and how many tokens prompt and answer have."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Chosen:
    """Choices with their probabilities, likeliest first."""

    shares: dict[str, float]
    prompt_tokens: int
