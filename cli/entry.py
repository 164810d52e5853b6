"""The ``liquid`` command before anything heavy is loaded: signals, and streams that are closed.

Only the standard library is imported here, so that Ctrl-C is heeded from the first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

INTERRUPTED = 130
TOGETHER = 1.0  # seconds: a Ctrl-C so soon behind another must not disturb its clean-up

_last = -TOGETHER


def main() -> None:
    """Run ``liquid``: what the installed command calls."""
    _on(signal.SIGINT, _leave)
    _open_streams()
    from .main import main as run

    _on(signal.SIGINT, _interrupt)
    _on(signal.SIGTERM, _terminate)
    _on(signal.SIGHUP, _terminate)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            _on(number, signal.SIG_IGN)  # all is done but Python's own end


def _on(number: signal.Signals, action: signal._HANDLER) -> None:
    """Set what a signal does, unless who started us has it ignored (nohup, a shell's ``&``)."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, action)


def _leave(number: int, frame: FrameType | None) -> None:
    """Before a command runs there is nothing to be cleaned up."""
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _last
    before, _last = _last, time.monotonic()
    if _last - before >= TOGETHER:
        raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    """Clean up as after an error; shells show a signal as 128 and its number."""
    _on(signal.SIGTERM, signal.SIG_IGN)
    _on(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(128 + number)


def _open_streams() -> None:
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
