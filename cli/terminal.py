"""What the commands say to people: one status line on stderr, and text made safe to show."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

from liquid_mlx.display import clean as clean
from liquid_mlx.display import one_line as one_line
from liquid_mlx.display import sentence, shorten
from liquid_mlx.distributed.ranks import launched, own_rank
from liquid_mlx.errors import OutputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESH = 0.1  # seconds between updates of the status line
LAUNCHED = 10.0  # and between lines where mlx.launch carries them, which has no terminal to rewrite
MOST_IN_LINE = 600  # characters on stderr


class Output:
    """A standard stream that cleans whatever is printed to it, wherever it comes from.

    What cannot be written to stdout is an error. To stderr go lines of limited length, and it may
    be closed: nothing but words is lost with it.
    """

    def __init__(self, stream: TextIO, errors: bool):
        self.raw = stream
        self._errors = errors

    def write(self, text: str) -> int:
        safe = clean(text)
        if self._errors:
            safe = "\n".join(shorten(line, MOST_IN_LINE) for line in safe.split("\n"))
        with self._failing():
            self.raw.write(safe)
        return len(text)

    def flush(self) -> None:
        with self._failing():
            self.raw.flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
            if not self._errors:
                raise
        except OSError as error:
            if not self._errors:
                raise OutputError(
                    f"stdout cannot be written ({error.strerror or error})."
                ) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: TextIO) -> TextIO:
    """The stream behind an `Output`, for what may drive the terminal."""
    return getattr(stream, "raw", stream) if isinstance(stream, Output) else stream


def open_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr are closed, as under some cron and launchd.

    Else the first file opened, such as a model's, would be taken for one of them. What is written
    to a closed stdout is lost, so that is an error still: it is opened for reading.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


@contextmanager
def safe_output() -> Iterator[None]:
    """Clean all that is printed meanwhile; at the end nothing waits to be written."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, Output(before[0], errors=False))
    sys.stderr = cast(TextIO, Output(before[1], errors=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            try:
                stream.flush()
            except OSError:  # Python would try again when it ends, and say so
                with suppress(OSError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, stream.fileno())
                    os.close(nowhere)


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
    outside is shown as it is: rich is never given markup. Of several processes that were launched
    together only rank 0 speaks, errors aside.
    """

    def __init__(self, quiet: bool = False):
        self._launched = launched()
        self._quiet = quiet or (self._launched and own_rank() != 0)
        self._follows = False
        self.live = not self._quiet and sys.stderr.isatty()
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

    def follow(self) -> None:
        """Say nothing from now on, not even errors: another process does the same and says it."""
        self._quiet = self._follows = True
        self.live = False

    @property
    def seconds(self) -> float:
        """Since ``start``."""
        return time.perf_counter() - self._started

    def show(self, text: str) -> None:
        """Put text on the line."""
        if self.live:
            from rich.text import Text

            self._render(Text(sentence(text), no_wrap=True, overflow="ellipsis"))

    def progress(self, title: str, done: int, total: int, unit: str = "tokens") -> None:
        """Show how far a task is, how fast, and how long it will still take."""
        since = time.perf_counter() - self._shown
        if self._launched and not self.live:
            if since > LAUNCHED and self.seconds > LAUNCHED:
                self._shown = time.perf_counter()
                left = duration((total - done) * self.seconds / done) if done else "unknown"
                self.say(f"{one_line(title)}  rank 0: {done}/{total}  {left} left")
            return
        if not self.live or (since < REFRESH and done < total):
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
        name = Text(sentence(title), no_wrap=True, overflow="ellipsis")
        line.add_row(name, ProgressBar(total, done, width=24), Text(numbers, no_wrap=True))
        self._render(line)

    def _render(self, line: RenderableType) -> None:
        if self._line is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=raw(sys.stderr), highlight=False)
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
        if self._follows:
            return
        self.clear()
        print(f"liquid: {sentence(text)}", file=sys.stderr, flush=True)
