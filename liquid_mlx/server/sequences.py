"""What a batch works on: one picture or one answer each, with its own seed and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from liquid_mlx.config import Size
from liquid_mlx.generation.image import AHEAD
from liquid_mlx.generation.sampling import fold_in, noise
from liquid_mlx.params import ImageParams, TextParams


@dataclass(frozen=True)
class TokenLogs:
    """Log-probabilities at one place: of the drawn token, and of the likeliest ones."""

    drawn: float
    top: list[tuple[int, float]]


@dataclass(eq=False)
class ImageSequence:
    """A picture that is drawn: ``tokens`` are its codes so far, ``total`` of them make it whole.

    ``entropies`` has the entropy, in nats, of each code's distribution, where asked for.
    """

    ids: list[int]
    params: ImageParams
    seed: int
    size: Size
    total: int
    wants_entropy: bool = False
    tokens: list[int] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    _noise: mx.array | None = None
    _noise_start: int = 0

    @property
    def rows(self) -> int:
        """Rows of the batch: with guidance there is an unconditional one."""
        return 1 + (self.params.guidance > 1)

    @property
    def length(self) -> int:
        """Tokens of a row in the end."""
        return len(self.ids) + self.total

    @property
    def done(self) -> bool:
        return len(self.tokens) >= self.total

    @property
    def last(self) -> bool:
        """Whether the next token is the last one for certain."""
        return len(self.tokens) + 1 >= self.total

    def noise(self, n: int) -> mx.array:
        """Noise of the next position [1, n], as a picture that is drawn alone has it."""
        position = len(self.tokens)
        if self.params.temperature == 0:
            return mx.zeros((1, n))
        if self._noise is None or position >= self._noise_start + len(self._noise):
            places = mx.arange(position, min(position + AHEAD, self.total))
            keys = fold_in(mx.random.key(self.seed), places)
            self._noise, self._noise_start = noise(keys, (len(places), n)), position
        at = position - self._noise_start
        return self._noise[at : at + 1]


@dataclass(eq=False)
class TextSequence:
    """An answer that is written: ``tokens`` are its ids so far, a stop id included.

    Args:
        top: how many of the likeliest tokens' log-probabilities are wanted at every place; None
            is no log-probabilities at all.
    """

    ids: list[int]
    params: TextParams
    seed: int
    stop: set[int]
    top: int | None = None
    tokens: list[int] = field(default_factory=list)
    logs: list[TokenLogs] = field(default_factory=list)
    rows: int = 1

    @property
    def length(self) -> int:
        return len(self.ids) + self.params.max_new_tokens

    @property
    def done(self) -> bool:
        if self.tokens and self.tokens[-1] in self.stop:
            return True
        return len(self.tokens) >= self.params.max_new_tokens

    @property
    def last(self) -> bool:
        return len(self.tokens) + 1 >= self.params.max_new_tokens

    @property
    def key(self) -> mx.array:
        """The key of the next position, uint32 [2]."""
        return fold_in(mx.random.key(self.seed), len(self.tokens))


TokenSequence = ImageSequence | TextSequence


def length_of(sequences: Sequence[TokenSequence]) -> int:
    """The tokens of the longest one in the end."""
    return max((sequence.length for sequence in sequences), default=0)
