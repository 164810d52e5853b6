"""How long wrong set-ups last, and what is said: ``python -m benchmarks.several.setups``.

Those of ``tests/distributed/setups.py``, with the 20 seconds in which processes must meet. All of
them are to end within 30 s, with an error, and rank 0 with one sentence; otherwise this fails.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.loops.side_by_side import machine
from benchmarks.several.work import golden
from tests.distributed.launch import Ended, ended
from tests.distributed.setups import SETUPS, Setup, prepare

MEETING = {"LIQUID_MEETING": "20"}
LONGEST = 30.0  # seconds


def as_wanted(setup: Setup, ranks: Sequence[Ended], took: float) -> bool:
    """Whether all processes ended in time and with an error, and rank 0 with one sentence."""
    said, every = ranks[0].err, "".join(rank.err for rank in ranks)
    sentences = sum(line.startswith("liquid: ") for line in said.splitlines())
    says = setup.says.replace("waited 8 s", f"waited {MEETING['LIQUID_MEETING']} s")
    return (
        took < LONGEST
        and all(rank.code for rank in ranks)
        and sentences <= 1
        and says in " ".join(said.split())
        and "Traceback" not in every
    )


def main() -> None:
    print(
        f"{machine()}\n\n| what is wrong | seconds | exit codes | what is said |\n|---|---|---|---|"
    )
    longest, failures = 0.0, []
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
            if not as_wanted(setup, ranks, took):
                failures.append(wrong)
    print(f"\n{len(SETUPS)} set-ups, {longest:.1f} s at the most; not as wanted: {failures}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
