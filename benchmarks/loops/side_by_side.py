"""Columns of a comparison: one process each, run in turns so that a machine's moods hit all alike.

A process is told a run per line on stdin (JSON arguments of ``Loop.draw``), and answers with its
seconds and codes. MLX's processes get OpenBLAS preloaded where it is found; PyTorch brings its own
BLAS.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.loops.geometry import named

OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0")
LOOPS = {"liquid-mlx": "liquid", "PyTorch": "pytorch", "mlx-lm": "mlx_lm"}


class Column:
    """A loop in a process of its own."""

    def __init__(self, name: str, model: str, threads: int | None = None):
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        if threads:
            environment |= {
                f"{blas}_NUM_THREADS": str(threads) for blas in ("OPENBLAS", "OMP", "MKL")
            }
        if name != "PyTorch" and OPENBLAS.exists():
            environment["LD_PRELOAD"] = str(OPENBLAS)
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loops.side_by_side", LOOPS[name], model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        )

    def run(self, **arguments: Any) -> dict[str, Any]:
        """``{"seconds": wall time, "cpu": CPU time, "codes": [[...]]}`` of one drawing."""
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: see its error above.")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve(loop: str, model: str) -> None:
    """Answer runs from stdin until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print: keep the channel clean
    draw = importlib.import_module(f"benchmarks.loops.{loop}").Loop(named(model)).draw
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        codes = draw(**json.loads(line))
        result = {
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu,
            "codes": codes.tolist(),
        }
        print(json.dumps(result), file=answers, flush=True)


def interleaved(
    columns: list[Column], rounds: int, clock: str = "seconds", **arguments: Any
) -> dict[str, list[float]]:
    """Times of each column, ``rounds`` times in turns after one short run to warm up.

    ``clock`` is "seconds" (wall) or "cpu", which also means something on a busy machine.
    """
    for column in columns:
        column.run(**{**arguments, "total": min(8, arguments["total"])})
    times: dict[str, list[float]] = {column.name: [] for column in columns}
    for _ in range(rounds):
        for column in columns:
            times[column.name].append(column.run(**arguments)[clock])
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the ratios of pairs that ran one after the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def machine() -> str:
    """One line: processor, cores, system, date."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}, {date.today()}"


if __name__ == "__main__":
    serve(*sys.argv[1:])
