"""Sampling settings: one frozen type for images and one for text, checked in one place.

Library, command line, metadata of images and server all build these types, so a value that is out
of range, not finite, or no number at all ends in the same sentence everywhere.
"""

from __future__ import annotations

import math
import numbers
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from liquid_mlx.display import brief
from liquid_mlx.errors import SettingsError

SEEDS = 2**32
MAX_COUNT = 10_000  # images of one call
MAX_INTEGER = 2**31 - 1  # what MLX takes for a Python int
MAX_NUMBER = 1e6


def integer(name: str, value: Any, low: int, high: int, hint: str) -> int:
    """A whole number from low to high, as int; NumPy's integers are fine, booleans are not."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise SettingsError(f"{name} is {brief(value, 40)}: give a whole number.")
    found = int(value)
    if not low <= found <= high:
        raise SettingsError(f"{name} is {brief(value, 40)}: {hint}.")
    return found


def number(name: str, value: Any, low: float, high: float, hint: str) -> float:
    """A finite number from low to high, as float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SettingsError(f"{name} is {brief(value, 40)}: give a number.")
    try:
        found = float(value)
    except OverflowError:  # an int or a fraction beyond all floats
        found = math.inf
    if not low <= found <= high:  # NaN is refused, too
        raise SettingsError(f"{name} is {brief(value, 40)}: {hint}.")
    return found


def choice(name: str, value: Any, words: Sequence[str]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in words:
        raise SettingsError(f"{name} is {brief(value, 40)!r}: use {' or '.join(words)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, or what Python takes for one of them; arrays of several are neither."""
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} is {brief(value, 40)}: give True or False.") from None


def check_sampling(*, temperature: float, top_k: int, top_p: float) -> dict[str, float]:
    """The same by name, as Python's own numbers.

    Raises:
        SettingsError: unless temperature >= 0, top_k >= 0 and 0 < top_p <= 1.
    """
    found: dict[str, float] = {
        "temperature": number(
            "temperature", temperature, 0, MAX_NUMBER, "use 0 (greedy) or more, such as 1.0"
        ),
        "top_k": integer("top-k", top_k, 0, MAX_INTEGER, "use 0 (keep all) or more"),
        "top_p": number("top-p", top_p, 0, 1, _TOP_P),
    }
    if found["top_p"] == 0:
        raise SettingsError(f"top-p is {top_p}: {_TOP_P}.")
    return found


def _keep(params: ImageParams | TextParams, **values: float) -> None:
    """Put the checked values into frozen settings: JSON knows no NumPy numbers."""
    for name, value in values.items():
        object.__setattr__(params, name, value)


_TOP_P = "use more than 0 and at most 1 (keep all)"


@dataclass(frozen=True, kw_only=True)
class ImageParams:
    """How image tokens are sampled; the defaults are the reference's.

    Attributes:
        guidance: scale of classifier-free guidance; 1 or less is off.
        temperature: 0 is greedy.
        top_k: sample among the k likeliest tokens; 0 keeps all.
        top_p: nucleus sampling: among the likeliest tokens that make up this share.

    Raises:
        SettingsError: a value is out of range, not finite, or no number.
    """

    guidance: float = 7.0
    temperature: float = 0.99
    top_k: int = 4096
    top_p: float = 0.96

    def __post_init__(self) -> None:
        guidance = number(
            "guidance", self.guidance, 0, MAX_NUMBER, "use 1 (off) or more, such as 7"
        )
        sampling = check_sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        _keep(self, guidance=guidance, **sampling)


@dataclass(frozen=True, kw_only=True)
class TextParams:
    """How an answer is sampled; greedy unless told otherwise.

    Raises:
        SettingsError: a value is out of range, not finite, or no number.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        length = integer("max_tokens", self.max_new_tokens, 1, MAX_INTEGER, "use 1 or more")
        sampling = check_sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        _keep(self, max_new_tokens=length, **sampling)


def seeds_for(seed: int | Sequence[int] | None, count: int) -> list[int]:
    """One seed for each of ``count``: ``seed + i`` modulo 2**32, or those given; None draws one.

    Raises:
        SettingsError: count or a seed is out of range, or there are not as many seeds as needed.
    """
    limit = f"use 1 to {MAX_COUNT}"
    count = integer("count", count, 1, MAX_COUNT, limit)
    if seed is None:
        seed = secrets.randbelow(SEEDS)
    # Arrays are no Sequence, and those of one number no list.
    listed = isinstance(seed, Iterable) and getattr(seed, "ndim", 1) > 0
    several = listed and not isinstance(seed, str)
    given = list(islice(seed, count + 1)) if several else [seed]  # type: ignore[arg-type]
    found = [integer("seed", one, 0, SEEDS - 1, f"use 0 to {SEEDS - 1}") for one in given]
    if not several:
        return [(found[0] + i) % SEEDS for i in range(count)]
    if len(found) != count:
        seeds = f"{len(found)} seeds" if len(found) < count else "more seeds"
        raise SettingsError(f"There are {seeds} for {count}: give one for each.")
    return found
