"""Compute blocks ahead of their use, on as many MLX streams as help."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from math import prod
from typing import TypeVar

import mlx.core as mx

T = TypeVar("T")

CPU_STREAMS = 2  # MLX's CPU operations are single-threaded: two at once, and reading and writing


_of_thread = threading.local()  # MLX's streams belong to the thread that made them


def _streams() -> list[mx.Stream]:
    """The calling thread's streams on the default device: MLX never frees one, so they are kept."""
    device = mx.default_device()
    if device != mx.cpu:
        return [mx.default_stream(device)]
    if not hasattr(_of_thread, "streams"):
        _of_thread.streams = [mx.new_stream(mx.cpu) for _ in range(CPU_STREAMS)]
    streams: list[mx.Stream] = _of_thread.streams
    return streams


def ahead(blocks: Iterator[tuple[T, list[mx.array]]]) -> Iterator[tuple[T, list[mx.array]]]:
    """The same blocks; while one is used, the next ones are computed, each on its own stream."""
    streams = _streams()
    waiting: deque[tuple[T, list[mx.array]]] = deque()
    for stream in cycle(streams):
        with mx.stream(stream):
            block = next(blocks, None)
        if block is None:
            break
        mx.async_eval(block[1])
        waiting.append(block)
        if len(waiting) > len(streams):
            yield waiting.popleft()
    yield from waiting


# Elements converted at once. MLX's CPU code for the fp4 modes needs 45 bytes for each of them.
BLOCK = 1 << 22


def row_blocks(shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where blocks of rows of about ``BLOCK`` elements start and stop."""
    step = max(1, BLOCK // prod(shape[1:]))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])
