"""What the commands say to people: one status line on stderr, and text made safe to show."""

from __future__ import annotations

import re
import shutil
import sys
import time
from types import TracebackType

REFRESH = 0.1  # seconds between updates of the status line
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Text without the control characters with which it could drive a terminal."""
    return _UNSAFE.sub("", text)


def one_line(text: str) -> str:
    """Text for a table or a status line: clean, and on one line."""
    return " ".join(clean(text).split())


def about(name: str, error: Exception) -> str:
    """An error's sentence, which names what it is about."""
    text = str(error)
    return text if name in text else f"{name}: {text}"


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


class Status:
    """A line on stderr, rewritten in place on a terminal; lines that stay go through ``say``.

    Quiet, it prints nothing; when stderr is not a terminal it prints only what stays.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self.live = not quiet and sys.stderr.isatty()
        self._shown = 0.0
        self._started = time.perf_counter()
        self._dirty = False

    def __enter__(self) -> Status:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def start(self, text: str = "") -> None:
        """Begin a task: time and speed count from here."""
        self._started = time.perf_counter()
        self._shown = 0.0
        self.clear()
        if text:
            self.show(text)

    @property
    def seconds(self) -> float:
        """Since ``start``."""
        return time.perf_counter() - self._started

    def show(self, text: str) -> None:
        """Put text on the line."""
        if not self.live:
            return
        width = shutil.get_terminal_size().columns - 1
        line = clean(text).replace("\n", " ")[:width]
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        self._dirty = True

    def progress(self, title: str, done: int, total: int, unit: str = "tokens") -> None:
        """Show how far a task is, how fast, and how long it will still take."""
        if not self.live or (time.perf_counter() - self._shown < REFRESH and done < total):
            return
        self._shown = time.perf_counter()
        speed = done / max(self.seconds, 1e-9)
        numbers = f"{done}/{total}  {speed:.1f} {unit}/s  {duration((total - done) / speed)} left"
        room = shutil.get_terminal_size().columns - len(numbers) - 5
        bar = min(24, room // 3)
        title = one_line(title)
        if len(title) > room - bar:
            title = title[: max(room - bar - 1, 0)] + "…"
        filled = bar * done // total
        self.show(f"{title}  {'━' * filled}{'─' * (bar - filled)}  {numbers}")

    def clear(self) -> None:
        """Take the line away."""
        if self._dirty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._dirty = False

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if not self._quiet:
            self.clear()
            print(clean(text).replace("\n", " "), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Print an error that does not end the program; quiet prints it too."""
        self.clear()
        print(f"liquid: {one_line(text)}", file=sys.stderr, flush=True)
