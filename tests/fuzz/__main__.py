"""Thousands of hostile inputs: ``python -m tests.fuzz --seed 0 --count 2000``.

``--only N`` runs case N of a seed again and shows what it says; ``--kills N`` kills commands at N
random moments instead.
"""

from __future__ import annotations

import argparse
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import kills
from tests.fuzz.surfaces import SURFACES
from tests.fuzz.world import build


@dataclass(frozen=True)
class Finding:
    """A case that broke a limit."""

    index: int
    surface: str
    argv: list[str]
    problem: str


def fuzz(
    world: Path, seed: int, start: int, stop: int, surface: str = "", seconds: float = 60
) -> Iterator[tuple[str, int | None, Finding | None]]:
    """Run cases in processes of their own; per case its surface, exit code, and what it broke.

    Args:
        seconds: without a word from a process, after which it hangs (its own limit is on CPU time).
    """
    while start < stop:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(world), str(seed)]
        worker = subprocess.Popen(
            [*command, str(start), str(stop), *([surface] if surface else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert worker.stdout is not None
        case: dict[str, object] = {}
        try:
            while True:
                ready = select.select([worker.stdout], [], [], seconds)[0]
                line = worker.stdout.readline() if ready else b""
                if not line:
                    break
                said = json.loads(line)
                if "case" in said:
                    case = said
                    continue
                start = said["done"] + 1
                yield str(case["surface"]), said["code"], _finding(case, said["problem"])
                case = {}
        finally:
            worker.kill()
            errors = worker.communicate()[1].decode(errors="replace")
        if case:
            end = f"ended with {worker.returncode}" if ready else f"hung for {seconds:g} s"
            yield str(case["surface"]), None, _finding(case, f"{end}: {errors[-1000:]}")
            start = int(str(case["case"])) + 1
        elif start < stop:
            raise RuntimeError(f"The worker did not start: {errors[-2000:]}")


def _finding(case: dict[str, object], problem: str) -> Finding | None:
    if not problem:
        return None
    argv = [str(value)[:200] for value in case["argv"]]  # type: ignore[attr-defined]
    return Finding(int(str(case["case"])), str(case["surface"]), argv, problem)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--surface", choices=list(SURFACES), default="")
    parser.add_argument("--start", type=int, default=0, help="the first case of a run in parts")
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--patience", type=float, default=60, help="seconds until a case hangs")
    parser.add_argument("--kills", type=int, help="kill commands at so many random moments")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-world-"))
    try:
        build(folder)
        if asked.kills:
            sys.exit(kills.main(folder, asked.seed, asked.kills))
        first = asked.start if asked.only is None else asked.only
        found, began = [], time.monotonic()
        count, codes = Counter[str](), Counter[int | None]()
        stop = first + (asked.count if asked.only is None else 1)
        run = fuzz(folder, asked.seed, first, stop, asked.surface, asked.patience)
        for surface, code, finding in run:
            count[surface] += 1
            codes[code] += 1
            if finding:
                found.append(finding)
                print(f"{finding.index} {surface} {finding.argv}\n{finding.problem}\n", flush=True)
    finally:
        shutil.rmtree(folder)
    print(f"{sum(count.values())} cases in {time.monotonic() - began:.0f} s: {dict(count)}")
    print(f"exit codes: {dict(codes)}")
    print(f"{len(found)} broke a limit: {[finding.index for finding in found]}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
