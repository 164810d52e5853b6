"""How fast processes are joined, by the operation that their work is made of: the all-sum."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import mlx.core as mx

from liquid_mlx.errors import lost_peer

SMALL = 20  # all-sums that are timed, of what a decoding step sends
LARGE = 3
MEGABYTES = 8


@dataclass(frozen=True)
class Links:
    """What was measured: ``latency`` in seconds for the bytes of a step, ``bandwidth`` in bytes/s.

    The bandwidth counts what a ring moves: 2 (n - 1) / n of an array, over each link.
    """

    ranks: int
    latency: float
    bandwidth: float


def measure(group: mx.distributed.Group, *, width: int = 2 * 3072) -> Links:
    """Time all-sums of ``width`` float16 (two rows of Liquid 7B), and of megabytes.

    All ranks call it, and all get the slowest rank's times. It takes a second or less.

    Raises:
        DistributedError: another process has gone.
    """

    def seconds(array: mx.array, times: int) -> float:
        found = []
        for _ in range(times + 1):
            start = time.perf_counter()
            mx.eval(mx.distributed.all_sum(array, group=group))
            found.append(time.perf_counter() - start)
        middle = mx.array(statistics.median(found[1:]))  # the first one is for warming up
        return float(mx.distributed.all_max(middle, group=group))

    try:
        latency = seconds(mx.zeros(width, mx.float16), SMALL)
        large = mx.zeros(MEGABYTES << 18, mx.float32)
        mx.eval(large)
        whole = seconds(large, LARGE)
    except RuntimeError as error:
        raise lost_peer(error) or error from None
    moved = 2 * (group.size() - 1) / group.size() * large.nbytes
    return Links(group.size(), latency, moved / whole)
