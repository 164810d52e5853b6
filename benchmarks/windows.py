"""Fixed-noise windows: ``python -m benchmarks.windows [MODEL] [--seeds 100]``.

Are the codes those of window 1, how many come out of a step, what does a step cost, and where does
"auto" land? The settings are the model's own.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from benchmarks.loops.side_by_side import machine
from liquid_mlx import load
from liquid_mlx.cli.bench.measure import step_seconds
from liquid_mlx.generation.autotune import fastest
from liquid_mlx.generation.image import Draw
from liquid_mlx.generation.jacobi import WINDOWS

PROMPT = "a red circle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    liquid = load(options.model, dtype="float32")
    whole: dict[int, np.ndarray] = {}
    results = {w: {"same": 0, "steps": 0, "seconds": []} for w in WINDOWS}
    for seed in range(options.seeds):
        for window, result in results.items():
            start = time.perf_counter()
            steps = list(liquid.stream_image(PROMPT, seed=seed, window=window))
            result["seconds"].append(time.perf_counter() - start)
            result["steps"] += len(steps)
            codes = steps[-1].codes
            result["same"] += bool((codes == whole.setdefault(seed, codes)).all())
    total = steps[-1].total
    print(f"{options.model}, {options.seeds} seeds, {liquid.config.recommended}\n{machine()}\n")
    print("| window | same codes | codes a step | ms a picture | ms a step | codes/s |")
    print("|---|---|---|---|---|---|")
    for window, result in results.items():
        seconds = statistics.median(result["seconds"])
        rate = options.seeds * total / result["steps"]
        print(
            f"| {window} | {result['same']}/{options.seeds} | {rate:.2f} | {seconds * 1e3:.0f} "
            f"| {seconds / total * rate * 1e3:.2f} | {total / seconds:.0f} |"
        )
    rows = (1, 2, 4, 6, 8, 16)
    costs = {count: step_seconds(liquid, count, total) for count in rows}
    print("\n| rows | " + " | ".join(map(str, rows)) + " |\n|" + "---|" * (len(rows) + 1))
    print("| ms | " + " | ".join(f"{s * 1e3:.2f}" for s in costs.values()) + " |")
    print("| times 2 rows | " + " | ".join(f"{s / costs[2]:.2f}" for s in costs.values()) + " |")
    draw = Draw([0], liquid.config.recommended)
    size = liquid.config.sizes[0]
    ids = liquid.prompts.draw(PROMPT, size)
    choice = fastest(lambda w: liquid.engine.draw(ids, draw, size, total, w))
    print(f"\nauto takes {choice}")


if __name__ == "__main__":
    main()
