"""Drawing a code: operations and bytes per token, and time of the plain-MLX twin on this machine.

    python -m benchmarks.parts.sampler

Compares the kernel, its plain-MLX twin and mlx-lm's sampler chain (which has no guidance and no
explicit key). An operation is a node of MLX's graph that computes: on a GPU each takes at least one
launch (a sort of a long row takes several). Bytes are what these operations read and write.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import make_sampler

from liquid_mlx.generation.sampling import fold_in, noise
from liquid_mlx.kernels import sample_codes

# nodes that only look at their input in another way
VIEWS = {"Broadcast", "Reshape", "ExpandDims", "Squeeze", "Slice", "Transpose", "Flatten"}
VIEWS |= {"Unflatten", "BroadcastAxes", "Split", "StopGradient"}


def counted(draw: Callable[..., mx.array], *arrays: mx.array) -> tuple[int, int]:
    """Operations that compute, and the bytes of their inputs and outputs."""
    operations = moved = 0
    viewed: dict[str, int] = {}  # a view costs its user the bytes that it looks at

    def note(entry: dict[str, Any]) -> None:
        nonlocal operations, moved
        if entry["type"] != "primitive":
            return
        sizes = [math.prod(shape) * dtype.size for _, shape, dtype in entry["inputs"]]
        names = [name for name, *_ in entry["inputs"]]
        read = sum(viewed.get(name, size) for name, size in zip(names, sizes, strict=True))
        if entry["name"] in VIEWS:
            viewed.update({name: read for name, *_ in entry["outputs"]})
            return
        operations += 1
        moved += read
        moved += sum(math.prod(shape) * dtype.size for _, shape, dtype in entry["outputs"])

    mx.export_function(note, draw, *arrays)
    return operations, moved


def seconds(draw: Callable[[], mx.array]) -> float:
    """The best of 200 calls."""
    mx.eval(draw())
    best = math.inf
    for _ in range(200):
        start = time.perf_counter()
        mx.eval(draw())
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    print("| rows | codes | twin | mlx-lm | twin: ops, bytes | mlx-lm: ops, bytes | kernel |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for rows, n in ((1, 512), (4, 1024), (1, 8192), (4, 8192)):
        settings = {"temperature": 0.99, "top_k": n // 2, "top_p": 0.96}
        chain = make_sampler(temp=0.99, top_p=0.96, top_k=n // 2)
        keys = fold_in(mx.random.key(0), mx.arange(rows))
        both = mx.random.normal((2, rows, n), key=mx.random.key(1)) * 3
        arrays = [both[0] + 0, both[1] + 0, noise(keys, (rows, n))]
        mx.eval(arrays)

        def twin(*arrays: mx.array, s: dict[str, Any] = settings) -> mx.array:
            return sample_codes(*arrays, guidance=7.0, **s, backend="mlx")

        def theirs(logits: mx.array, chain: Callable[..., mx.array] = chain) -> mx.array:
            return chain(logits - mx.logsumexp(logits, axis=-1, keepdims=True))

        ours = counted(twin, *arrays)
        other = counted(theirs, arrays[0])
        kernel = sum(array.nbytes for array in arrays) + 4 * rows
        print(
            f"| {rows} | {n} | {seconds(partial(twin, *arrays)) * 1e6:.0f} us "
            f"| {seconds(partial(theirs, arrays[0])) * 1e6:.0f} us | {ours[0]}, {ours[1]:,} "
            f"| {other[0]}, {other[1]:,} | 1, {kernel:,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
