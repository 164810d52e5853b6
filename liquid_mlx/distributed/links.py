"""How fast processes are joined, by the operation that their work is made of: the all-sum."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from liquid_mlx.device import on_gpu
from liquid_mlx.errors import lost_peer

SMALL = 20  # all-sums that are timed, of what a decoding step sends
STEPS = 7  # chains of so many all-sums, with work in between, that are timed
LARGE = 3
MEGABYTES = 8


@dataclass(frozen=True)
class Links:
    """What was measured of all-sums of a step's few kilobytes, in seconds, and of large ones.

    Attributes:
        latency: what an all-sum adds to a step. It is more than one ``alone`` where processes do
            not take equally long for their parts, so that one waits, or disturb each other.
        alone: an all-sum when there is nothing else to do.
        bandwidth: bytes a second of a link, of which a ring moves 2 (n - 1) / n of an array.
    """

    ranks: int
    latency: float
    alone: float
    bandwidth: float


def measure(group: mx.distributed.Group, *, hidden: int = 3072, inner: int = 3072) -> Links:
    """Time all-sums of two rows of ``hidden`` numbers, and of megabytes.

    Between those within a step, each rank multiplies the rows with two matrices of ``hidden`` by
    ``inner``: by default in size what each of two machines reads of Liquid 7B in 4 bits.

    All ranks call it, and all get the slowest rank's times. It takes some seconds at the most.

    Raises:
        DistributedError: another process has gone.
    """
    dtype = mx.float16 if on_gpu() else mx.float32
    rows = mx.zeros((2, hidden), dtype)
    up, down = mx.zeros((hidden, inner), dtype), mx.zeros((inner, hidden), dtype)
    large = mx.zeros(MEGABYTES << 18, mx.float32)
    mx.eval(rows, up, down, large)

    def all_sum(x: mx.array) -> mx.array:
        return mx.distributed.all_sum(x, group=group)

    def step(join: Callable[[mx.array], mx.array]) -> mx.array:
        x = rows
        for _ in range(SMALL):
            x = join(x @ up @ down)
        return x

    def seconds(make: Callable[[], mx.array]) -> float:
        mx.eval(all_sum(mx.zeros(1)))  # all begin at once
        start = time.perf_counter()
        mx.eval(make())
        return time.perf_counter() - start

    def slowest(make: Callable[[], float], times: int) -> float:
        found = [make() for _ in range(times + 1)][1:]  # the first one is for warming up
        return float(mx.distributed.all_max(mx.array(statistics.median(found)), group=group))

    def added() -> float:
        return seconds(lambda: step(all_sum)) - seconds(lambda: step(lambda x: x))

    try:
        alone = slowest(lambda: seconds(lambda: all_sum(rows)), SMALL)
        latency = max(slowest(added, STEPS), 0.0) / SMALL
        whole = slowest(lambda: seconds(lambda: all_sum(large)), LARGE)
    except RuntimeError as error:
        raise lost_peer(error) or error from None
    moved = 2 * (group.size() - 1) / group.size() * large.nbytes
    return Links(group.size(), latency, alone, moved / whole)
