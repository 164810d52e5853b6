"""The ``liquid`` command before anything heavy is loaded: what signals do.

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
