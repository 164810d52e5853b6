"""How far a conversion is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The part in hand, bytes read of all that are to be read, seconds so far."""

    part: str
    done: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None before the first block."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


Report = Callable[[Progress], None]


class Clock:
    """Counts the bytes that are read, and reports after each block."""

    def __init__(self, total: int, report: Report | None):
        self._total, self._report = total, report
        self._done, self._start = 0, time.monotonic()

    def tick(self, part: str, read: int) -> None:
        """``read`` more bytes of ``part`` are done with."""
        self._done += read
        if self._report:
            self._report(Progress(part, self._done, self._total, time.monotonic() - self._start))
