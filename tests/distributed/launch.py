"""Processes that meet in a ring on this machine, as ``mlx.launch`` starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIQUID = (sys.executable, "-c", "from liquid_mlx.cli.main import main; main()")


class Ended(NamedTuple):
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environment(rank: int, hosts: Path, **changes: str) -> dict[str, str]:
    """What ``mlx.launch`` sets for a process of a ring."""
    own = {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts), "OPENBLAS_NUM_THREADS": "1"}
    own["LIQUID_MEETING"] = "200"  # a busy machine takes its time to start them
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **own, "PYTHONPATH": paths, **changes}


def write_hosts(folder: Path, size: int) -> Path:
    """A file of the ring's addresses; a blank one for a single process, as ``mlx.launch`` does."""
    hosts = folder / f"hosts-{time.monotonic_ns()}.json"
    addresses = [[f"127.0.0.1:{port}"] for port in free_ports(size)]
    hosts.write_text(json.dumps(addresses) if size > 1 else "")
    return hosts


@contextmanager
def started(
    commands: Sequence[Sequence[object]],
    folder: Path,
    environments: Sequence[dict[str, str]] = (),
    lines: str = "",
) -> Iterator[list[subprocess.Popen[str]]]:
    """A process for each command, in one ring; none is left at the end.

    ``environments`` are what is different from what ``mlx.launch`` sets, for each of them;
    ``lines`` their standard input.
    """
    typed = folder / "typed.txt"
    typed.write_text(lines)
    hosts = write_hosts(folder, len(commands))
    changes = [*environments, *[{}] * len(commands)]
    with ExitStack() as stack:
        processes = [
            subprocess.Popen(
                list(map(str, command)),
                env=environment(rank, hosts, **changes[rank]),
                cwd=folder,
                stdin=stack.enter_context(typed.open()),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, command in enumerate(commands)
        ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ended(processes: Sequence[subprocess.Popen[str]], seconds: float = 300) -> list[Ended]:
    """Wait for all; raises TimeoutExpired if one takes longer."""
    end = time.monotonic() + seconds
    found = []
    for process in processes:
        out, err = process.communicate(timeout=max(1.0, end - time.monotonic()))
        found.append(Ended(process.returncode, out, err))
    return found


def ring(size: int, command: Sequence[object], folder: Path, seconds: float = 300) -> list[Ended]:
    """The same command in ``size`` processes, to their end."""
    with started([command] * size, folder) as processes:
        return ended(processes, seconds)


def liquid(size: int, *arguments: object, folder: Path, seconds: float = 300) -> list[Ended]:
    """``liquid`` in ``size`` processes; for one, alone and without a launcher."""
    if size > 1:
        return ring(size, [*LIQUID, *arguments], folder, seconds)
    found = subprocess.run(
        [*LIQUID, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return [Ended(found.returncode, found.stdout, found.stderr)]
