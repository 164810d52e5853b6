"""From scored answers to figures, added up as the official scripts do, with intervals."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

Row: TypeAlias = tuple[float, ...]
Sums: TypeAlias = Mapping[str, Sequence[float]]
# group ("all", a split, a kind of question) -> figure -> value: an int is a count, None is 0 / 0
Groups: TypeAlias = dict[str, dict[str, float | None]]
RESAMPLES = 1000


@dataclass(frozen=True)
class Item:
    """One scored answer, for people to look at: ``score`` from 0 to 1."""

    id: Any
    question: str
    answer: str
    expected: str
    score: float
    image: str = ""


@dataclass(frozen=True)
class Scored:
    """Every answer's share of the figures.

    Attributes:
        parts: of each part of the data a row of numbers for every answer (or every image, where
            figures count images); figures depend on the rows' sums alone.
        figures: the sums of each part -> the figures.
    """

    task: str
    parts: Mapping[str, Sequence[Row]]
    figures: Callable[[Sums], Groups]
    items: Sequence[Item] = ()

    def exact(self) -> Groups:
        """The figures; sums run from left to right, so that the last digit is the official one."""
        return self.figures(
            {
                name: [reduce(operator.add, column) for column in zip(*rows, strict=True)]
                for name, rows in self.parts.items()
            }
        )

    def intervals(
        self, seed: int = 0, resamples: int = RESAMPLES
    ) -> dict[str, dict[str, list[float]]]:
        """95% bootstrap intervals [low, high] of every figure that is no count.

        Each part is resampled by itself, with replacement. Equal rows are drawn together (a
        multinomial of their counts), which makes large sets cheap and changes nothing.
        """
        rng = np.random.default_rng(seed)
        drawn = {}
        for name, rows in self.parts.items():
            values, counts = np.unique(np.array(rows, float), axis=0, return_counts=True)
            times = rng.multinomial(len(rows), counts / len(rows), size=resamples)
            drawn[name] = times @ values  # [resamples, numbers of a row]
        samples = [
            self.figures({name: sums[i].tolist() for name, sums in drawn.items()})
            for i in range(resamples)
        ]
        found: dict[str, dict[str, list[float]]] = {}
        for group, figures in self.exact().items():
            for name, value in figures.items():
                if isinstance(value, int):
                    continue
                known = [v for s in samples if (v := s.get(group, {}).get(name)) is not None]
                if known:
                    low, high = np.percentile(known, [2.5, 97.5])
                    found.setdefault(group, {})[name] = [float(low), float(high)]
        return found


def ratio(above: float, below: float) -> float | None:
    """A quotient, or None where the official script would divide by zero."""
    return above / below if below else None


def mean(name: str) -> Callable[[Sums], Groups]:
    """Figures of parts whose rows are (score, 1): the mean, under this name, and the count."""

    def figures(sums: Sums) -> Groups:
        return {
            part: {name: ratio(total, count), "samples": round(count)}
            for part, (total, count) in sums.items()
        }

    return figures
