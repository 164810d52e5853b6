"""Drawing several codes per step, with the very codes that come out one at a time.

The noise of a position is fixed by seed and position, so its code is a function of the codes
before it. A step runs a window of drafts at once, and takes its results up to and with the first
that differs from its draft: that one too was computed from right codes only. The results behind
it are the next drafts (Jacobi decoding with fixed noise). No draw is repeated, no second stream
of noise is needed. Matrices of another height may round differently, so a near-tie can fall the
other way; in float32 that is rare, in bfloat16 less so.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import mlx.core as mx

from liquid_mlx import __version__
from liquid_mlx.backbone import Backbone
from liquid_mlx.errors import SettingsError
from liquid_mlx.generation.image import (
    CodesStep,
    Draw,
    Head,
    Noise,
    Prefix,
    begin,
    draw_codes,
    sample_codes,
)

Window = int | Literal["auto"]
WIDEST = 8
WINDOWS = (1, 2, 3, 4, 8)  # that "auto" tries
TRIAL = 48  # codes drawn to time a window
GAIN = 1.05  # over one at a time: less is noise, and not worth a near-tie


def draw_windows(
    backbone: Backbone,
    head: Head,
    image_offset: int,
    prefixes: Sequence[Prefix],
    draw: Draw,
    total: int,
    window: int,
) -> Iterator[CodesStep]:
    """As ``draw_codes``, with up to ``window`` codes a step.

    Of several pictures each step takes as many codes as are right in all of them.
    """
    if window == 1:
        yield from draw_codes(backbone, head, image_offset, prefixes, draw, total)
        return
    cache, hidden = begin(prefixes, draw, total)
    noise = Noise(draw, total)
    filled = cache.offset
    tokens: list[mx.array] = []
    drafts = mx.zeros((len(draw.seeds), 0), mx.uint32)
    while True:
        logits = head(hidden)
        start = len(tokens)
        results = _sample(logits, noise, start, draw)
        right = 1 + _agreed(drafts, results[:, :-1])
        tokens += [results[:, i] for i in range(right)]
        yield CodesStep(len(tokens), total, tokens)
        if len(tokens) == total:
            return
        width = min(window, total - len(tokens))
        drafts = results[:, right:][:, : width - 1]
        missing = width - 1 - drafts.shape[1]
        if missing:  # the last logits, with the noise of later positions
            same = mx.repeat(logits[:, -1:], missing, axis=1)
            guesses = _sample(same, noise, len(tokens) + drafts.shape[1], draw)
            drafts = mx.concatenate([drafts, guesses], axis=1)
        ids = mx.concatenate([tokens[-1][:, None], drafts], axis=1) + image_offset
        cache.offset = filled + len(tokens) - 1
        hidden = backbone(mx.tile(ids, (len(prefixes), 1)), cache)


def check_window(window: Window) -> None:
    """Raise SettingsError unless it is 1 to 8, or "auto"."""
    if window != "auto" and window not in range(1, WIDEST + 1):
        raise SettingsError(f"window is {window}: use 1 (one code a step) to {WIDEST}, or auto.")


def _agreed(drafts: mx.array, results: mx.array) -> int:
    """How many leading columns of [count, d] are equal in all rows."""
    same = mx.all(drafts == results, axis=0)
    return int(mx.cumprod(same.astype(mx.int32)).sum())


def _sample(logits: mx.array, noise: Noise, start: int, draw: Draw) -> mx.array:
    """Codes [count, T] from logits [rows, T, n] of positions from ``start`` on."""
    _, length, n = logits.shape
    rows = noise.rows(start, start + length, n)
    return sample_codes(logits.reshape(-1, n), rows, draw).reshape(-1, length)


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
    path = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = path / "liquid-mlx" / "windows.json"
    name = hashlib.sha256(key.encode()).hexdigest()
    try:
        known = json.loads(path.read_text())
        if known[name] in WINDOWS:
            return int(known[name])
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    found = measure()
    known = {**known, name: found} if isinstance(known, dict) else {name: found}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(known))
        beside.replace(path)
    except OSError:
        pass  # a folder that cannot be written costs a new measurement each time, no picture
    return found
