"""How long wrong set-ups last, and what is said: ``python -m benchmarks.several.setups``.

Those of ``tests/distributed/setups.py``, with the 20 seconds in which processes must meet.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.loops.side_by_side import machine
from benchmarks.several.work import golden
from tests.distributed.launch import ended
from tests.distributed.setups import SETUPS, prepare

MEETING = {"LIQUID_MEETING": "20"}


def main() -> None:
    print(
        f"{machine()}\n\n| what is wrong | seconds | exit codes | what is said |\n|---|---|---|---|"
    )
    longest = 0.0
    with tempfile.TemporaryDirectory() as name:
        models = [golden(case, Path(name)) for case in ("llama_tiny", "gemma_tiny")]
        for number, (wrong, setup) in enumerate(SETUPS.items()):
            folder = Path(name) / str(number)
            folder.mkdir()
            prepare(folder, *models)
            own = setup.variables or {}
            variables = {rank: {**own.get(rank, {}), **MEETING} for rank in range(setup.size)}
            start = time.perf_counter()
            with replace(setup, variables=variables).started(folder) as processes:
                ranks = ended(processes)
            took = time.perf_counter() - start
            longest = max(longest, took)
            said = " ".join(ranks[0].err.split())
            codes = " ".join(str(rank.code) for rank in ranks)
            print(f"| {wrong} | {took:.1f} | {codes} | {said} |", flush=True)
    print(f"\n{len(SETUPS)} set-ups, {longest:.1f} s at the most")


if __name__ == "__main__":
    main()
