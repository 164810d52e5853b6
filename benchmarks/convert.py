"""Conversion beside mlx-lm's: ``python -m benchmarks.convert CHECKPOINT [--bits 4]``.

Each conversion runs in a process of its own, on a cold page cache, and its results are deleted.
Printed: seconds, seconds of processor time, the most memory that the process had resident, and the
size of what it wrote.
CHECKPOINT is a folder like the one that ``benchmarks.make_7b`` writes. mlx-lm converts the language
model only; its embedding gets as few bits as the rest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import sys
from liquid_mlx.convert import convert
convert(sys.argv[1], sys.argv[2], quantize=True, q_bits=int(sys.argv[3]), verify_result={verify})
"""
MLX_LM = """
import sys
from mlx_lm.convert import convert
convert(sys.argv[1], sys.argv[2], quantize=True, q_bits=int(sys.argv[3]))
"""
RUNS = {
    "liquid-mlx, --no-verify": OURS.format(verify=False),
    "liquid-mlx": OURS.format(verify=True),
    "mlx-lm": MLX_LM,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    size = total(options.checkpoint)
    print(f"{size / 1e9:.2f} GB at {options.bits} bits\n")
    print("| | seconds | CPU seconds | peak memory, GB | written, GB |\n|---|---|---|---|---|")
    for _ in range(options.repeats):
        for name in options.only:
            row = measure(RUNS[name], options.checkpoint, options.bits)
            print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |", flush=True)


def measure(program: str, checkpoint: Path, bits: int) -> tuple[float, ...]:
    """Seconds, processor seconds, peak resident and written gigabytes of one conversion."""
    forget(checkpoint)
    folder = Path(tempfile.mkdtemp(dir=checkpoint.parent))
    try:
        start = time.perf_counter()
        arguments = ["-c", program, str(checkpoint), str(folder / "out"), str(bits)]
        output = os.open(os.devnull, os.O_WRONLY)
        actions = [(os.POSIX_SPAWN_DUP2, output, 1)]
        process = os.posix_spawn(
            sys.executable, [sys.executable, *arguments], os.environ, file_actions=actions
        )
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit("The conversion failed.")
        unit = 1 if sys.platform == "darwin" else 1024
        busy = usage.ru_utime + usage.ru_stime
        return seconds, busy, usage.ru_maxrss * unit / 1e9, total(folder / "out") / 1e9
    finally:
        shutil.rmtree(folder)


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def forget(folder: Path) -> None:
    """Ask the system to drop the files from its cache, so that every run reads the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
