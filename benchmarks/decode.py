"""Codes per second side by side: ``python -m benchmarks.decode [mid | demo | FOLDER]``.

``mid`` has the official vocabulary (264192 ids) on a backbone of random weights: hidden 1024,
12 layers. Guidance on, so two rows a step; a prompt of 16 tokens, an unconditional one of 3.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.loops.geometry import named
from benchmarks.loops.side_by_side import LOOPS, Column, interleaved, machine, ratio

PROMPT = [2, *range(11, 25), 7]
UNCONDITIONAL = [2, 9, 7]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="mid")
    parser.add_argument("--codes", type=int, help="codes of a picture (default: the model's grid)")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the BLAS libraries (default: theirs)")
    parser.add_argument("--cpu", action="store_true", help="CPU time, for a busy machine")
    options = parser.parse_args()
    total = options.codes or named(options.model).total
    clock = "cpu" if options.cpu else "seconds"
    columns = [Column(name, options.model, options.threads) for name in LOOPS]
    run = {"prompt": PROMPT, "unconditional": UNCONDITIONAL, "total": total, "seeds": [0]}
    seconds = interleaved(columns, options.pairs, clock, **run)
    ours = seconds["liquid-mlx"]
    print(f"{options.model}: {total} codes, medians of {options.pairs} interleaved; {machine()}")
    print(f"clock: {clock}; threads: {options.threads or 'default'}\n")
    print("| loop | codes/s | s a picture | times liquid-mlx's time |\n|---|---|---|---|")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"| {name} | {total / middle:.1f} | {middle:.2f} | {ratio(times, ours):.2f} |")
    for column in columns:
        column.close()


if __name__ == "__main__":
    main()
