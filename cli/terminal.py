"""What the commands say to people: one status line on stderr, and text made safe to show."""

from __future__ import annotations

import re
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

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

    Quiet, it prints nothing; when stderr is not a terminal it prints only what stays. Text from
    outside is shown as it is: rich is never given markup.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self.live = not quiet and sys.stderr.isatty()
        self._shown = 0.0
        self._started = time.perf_counter()
        self._line: Live | None = None

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
        if self.live:
            from rich.text import Text

            self._render(Text(one_line(text), no_wrap=True, overflow="ellipsis"))

    def progress(self, title: str, done: int, total: int, unit: str = "tokens") -> None:
        """Show how far a task is, how fast, and how long it will still take."""
        if not self.live or (time.perf_counter() - self._shown < REFRESH and done < total):
            return
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        self._shown = time.perf_counter()
        numbers = f"{done}/{total}"
        if done:
            speed = done / max(self.seconds, 1e-9)
            left = duration((total - done) / speed)
            numbers += f"  {speed:.1f} {unit}/s  {left} left"
        line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        line.add_column(overflow="ellipsis")
        line.add_column(max_width=24)
        line.add_column(no_wrap=True)
        name = Text(one_line(title), no_wrap=True, overflow="ellipsis")
        line.add_row(name, ProgressBar(total, done, width=24), Text(numbers, no_wrap=True))
        self._render(line)

    def _render(self, line: RenderableType) -> None:
        if self._line is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, highlight=False)
            self._line = Live(
                console=console,
                transient=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._line.start()
        self._line.update(line, refresh=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.stop()
            self._line = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if not self._quiet:
            self.clear()
            print(clean(text).replace("\n", " "), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Print an error that does not end the program; quiet prints it too."""
        self.clear()
        print(f"liquid: {one_line(text)}", file=sys.stderr, flush=True)
