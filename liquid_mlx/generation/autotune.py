"""The fastest window on this machine, timed once and remembered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version

import mlx.core as mx

from liquid_mlx._version import __version__
from liquid_mlx.files import atomic_write, cache_folder
from liquid_mlx.generation.jacobi import WINDOWS, Window
from liquid_mlx.results import CodesStep

TRIAL = 48  # codes drawn to time a window


GAIN = 1.05  # over one at a time: less is noise, and not worth a near-tie


def fastest(trial: Callable[[int], Iterator[CodesStep]]) -> int:
    """The window that draws most codes a second; ``trial(window)`` starts a drawing."""
    rates = {window: _rate(trial(window)) for window in WINDOWS}
    best = max(WINDOWS, key=rates.__getitem__)
    return best if rates[best] > GAIN * rates[1] else 1


def _rate(steps: Iterator[CodesStep]) -> float:
    first = next(steps).position  # the first step compiles and allocates
    start, drawn = time.perf_counter(), 0
    for step in steps:
        drawn = step.position - first
        if drawn >= TRIAL:
            break
    return drawn / (time.perf_counter() - start)


def chosen(window: Window, key: object, trial: Callable[[int], Iterator[CodesStep]]) -> int:
    """The window asked for; for "auto" the fastest, timed once per machine and ``key``."""
    if window != "auto":
        return window
    machine = mx.device_info()["device_name"], version("mlx"), __version__
    return remembered(repr((machine, key)), lambda: fastest(trial))


def remembered(key: str, measure: Callable[[], int]) -> int:
    """``measure()``, kept for this key in the user's cache folder; a damaged file is made anew."""
    path = cache_folder() / "windows.json"
    name = hashlib.sha256(key.encode()).hexdigest()
    try:
        known = json.loads(path.read_text())
        if known[name] in WINDOWS:
            return int(known[name])
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    found = measure()
    known = {**known, name: found} if isinstance(known, dict) else {name: found}
    if path.is_absolute():  # else nobody's home is known
        with suppress(OSError):  # a folder that cannot be written costs a measurement each time
            atomic_write(path, json.dumps(known))
    return found
