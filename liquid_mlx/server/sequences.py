"""What a batch works on: one picture or one answer each, with its own seed and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from liquid_mlx.config import Size
from liquid_mlx.generation.image import Draw, Noise
from liquid_mlx.generation.sampling import fold_in
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

    Args:
        given: codes that stay, -1 where one is drawn; () draws all. Those behind the last that is
            drawn never become tokens; those before the first are tokens from the beginning.
        renewing, strength: of a variation, see ``Draw``.
        answering: it stands in an answer, whose beginning has been read.
    """

    ids: list[int]
    params: ImageParams
    seed: int
    size: Size
    total: int
    wants_entropy: bool = False
    given: Sequence[int] = ()
    renewing: Sequence[int] = ()
    strength: float = 0.0
    answering: bool = False
    tokens: list[int] = field(init=False)
    entropies: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        drawn = [i for i in range(self.total) if not self.given or self.given[i] < 0]
        self._end = drawn[-1] + 1
        self.before = list(self.given[: drawn[0]])  # codes that are read with the prompt
        self.tokens = [*self.before]
        draw = Draw([self.seed], self.params, (), None, self.renewing, self.strength)
        self._noise = Noise(draw, self.total)

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
        return len(self.tokens) >= self._end

    @property
    def last(self) -> bool:
        """Whether the next token is the last one for certain."""
        return len(self.tokens) + 1 >= self._end

    @property
    def next_given(self) -> int:
        """The next code, if it is given, or -1."""
        return self.given[len(self.tokens)] if self.given else -1

    def noise(self, n: int) -> mx.array:
        """Noise of the next position [1, n], as a picture that is drawn alone has it."""
        position = len(self.tokens)
        return self._noise.rows(position, position + 1, n)


@dataclass(eq=False)
class TextSequence:
    """An answer that is written: ``tokens`` are its ids so far, a stop id included.

    Args:
        top: how many of the likeliest tokens' log-probabilities are wanted at every place; None
            is no log-probabilities at all.
        start: how many tokens of the answer were drawn before, with this seed.
    """

    ids: list[int]
    params: TextParams
    seed: int
    stop: set[int]
    top: int | None = None
    start: int = 0
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
        return fold_in(mx.random.key(self.seed), self.start + len(self.tokens))


TokenSequence = ImageSequence | TextSequence


def length_of(sequences: Sequence[TokenSequence]) -> int:
    """The tokens of the longest one in the end."""
    return max((sequence.length for sequence in sequences), default=0)
