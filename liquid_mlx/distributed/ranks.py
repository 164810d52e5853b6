"""The processes that work together: how they meet, agree, share work and gather what came of it."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from liquid_mlx.errors import DistributedError, LiquidError, lost_peer

if TYPE_CHECKING:
    import mlx.core as mx

T = TypeVar("T")
MEETING = 20.0  # seconds that the processes have to meet: MLX itself would wait for ever
LONGER = "LIQUID_MEETING"  # the variable that says otherwise
LOST = 25  # seconds after which a connection over which nothing comes back is given up
FAILURES = (LiquidError, OSError, MemoryError)  # that a rank tells the others
_RANKS = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")  # mlx.launch, mpirun
# Ends its parent, which cannot do that itself: MLX holds the interpreter's lock while it waits.
_WATCH = """\
import os, select, sys
if not select.select([0], [], [], float(sys.argv[1]))[0]:
    sys.stderr.write(sys.argv[3] + "\\n")
    sys.stderr.flush()
    os.kill(int(sys.argv[2]), 9)
"""


def launched() -> bool:
    """Whether ``mlx.launch`` or ``mpirun`` started this process beside others; loads no MLX."""
    if os.environ.get("OMPI_COMM_WORLD_SIZE") == "1" or own_rank() is None:
        return False
    hosts = os.environ.get("MLX_HOSTFILE")
    try:  # mlx.launch gives a single process a blank file
        return hosts is None or os.path.getsize(hosts) > 1
    except OSError:
        return True


def own_rank() -> int | None:
    """The number that the launcher gave this process, or None; loads no MLX."""
    for name in _RANKS:
        value = os.environ.get(name, "")
        if value.isascii() and value.isdigit():
            return int(value)
    return 0 if any(name in os.environ for name in _RANKS) else None


class Team:
    """All processes of a run; a process alone is a team of one.

    The methods are for all ranks to call, in the same order. What they exchange is JSON.

    Args:
        one_model: the processes hold one model together, and so do all work together.
    """

    def __init__(self, group: mx.distributed.Group | None = None, *, one_model: bool = False):
        self.group = group
        self.one_model = one_model
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which speaks for all."""
        return self.rank == 0

    @property
    def shares_work(self) -> bool:
        """Whether each process works on something else."""
        return self.size > 1 and not self.one_model

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank.

        Raises:
            DistributedError: another process has ended.
        """
        if self.size == 1:
            return [value]
        import mlx.core as mx
        import numpy as np

        data = json.dumps(value).encode()

        def all_gather(array: mx.array) -> mx.array:
            found = mx.distributed.all_gather(array, group=self.group)
            try:
                mx.eval(found)
            except RuntimeError as error:
                raise lost_peer(error) or error from None
            return found

        sizes: list[int] = all_gather(mx.array([len(data)])).tolist()  # type: ignore[assignment]
        longest = max(sizes)
        padded = np.frombuffer(data.ljust(longest), np.uint8)
        texts = np.array(all_gather(mx.array(padded))).tobytes()
        return [json.loads(texts[i * longest : (i + 1) * longest]) for i in range(self.size)]

    def from_first(self, value: T) -> T:
        """Rank 0's value on every rank."""
        return self.gather(value if self.first else None)[0]  # type: ignore[return-value]

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """Which are true on one rank or more: hosts may have a disk each."""
        return [any(ranks) for ranks in zip(*self.gather(list(flags)), strict=True)]

    @contextmanager
    def together(self, **facts: str) -> Iterator[None]:
        """What is done within succeeds on every rank, or fails on every rank with one sentence.

        Args:
            facts: what must be the same everywhere, such as a version, by its name.

        Raises:
            DistributedError: a rank failed, and which, or facts differ. A process alone raises its
                own error.
        """
        if self.size == 1:
            yield
            return
        problem = ""
        try:
            yield
        except FAILURES as error:
            problem = str(error) or type(error).__name__
        reports = self.gather({"host": os.uname().nodename, "problem": problem, "facts": facts})
        problem = _disagreement(reports)
        if problem:
            raise DistributedError(problem, shared=True)

    def each(
        self,
        items: Sequence[T],
        work: Callable[[Sequence[tuple[int, T]]], Iterable[tuple[int, Any]]],
    ) -> Iterator[Any]:
        """What ``work`` yields for all items, in order, on rank 0; on other ranks nothing.

        Rank r takes the items r, r + size, ... What comes of an item must depend on it and on its
        index alone, so that it is the same for any number of ranks. A process alone yields as it
        works; of several, rank 0 yields when all have done their share. With one
        model all ranks take all items and yield as they work.

        Args:
            work: takes (index, item) pairs and yields (index, result), several for an index if
                there are; results are JSON.

        Raises:
            DistributedError: a rank failed, after what the others did was yielded. A process alone
                raises its own error.
        """
        pairs = list(enumerate(items))
        if not self.shares_work:
            yield from (result for _, result in work(pairs))
            return
        pairs = pairs[self.rank :: self.size]
        found: list[tuple[int, Any]] = []
        problem = ""
        try:
            found.extend(work(pairs))
        except FAILURES as error:
            problem = str(error) or type(error).__name__
        reports = self.gather({"host": os.uname().nodename, "problem": problem, "found": found})
        if self.first:
            everything = (pair for report in reports for pair in report["found"])
            yield from (result for _, result in sorted(everything, key=lambda pair: pair[0]))
        failures = _failures(reports)
        if failures:
            raise DistributedError(
                "; ".join(failures) + ". What the other ranks did is kept.", shared=True
            )


def _failures(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"rank {rank} ({report['host']}): {report['problem'].rstrip('.')}"
        for rank, report in enumerate(reports)
        if report["problem"]
    ]


def _disagreement(reports: Sequence[Mapping[str, Any]]) -> str:
    """The first reason for which these ranks cannot go on together, or ""."""
    failures = _failures(reports)
    if failures:
        others = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
        return f"{failures[0]}{others}."
    first = reports[0]["facts"]
    for rank, report in enumerate(reports):
        for name, value in report["facts"].items():
            if value != first.get(name):
                return (
                    f"rank {rank} ({report['host']}) has {name} {value}, rank 0 "
                    f"{first.get(name)}: all machines must have the same."
                )
    return ""


def join(*, one_model: bool = False) -> Team:
    """The team that this process was launched in; a team of one if it was launched alone.

    Raises:
        DistributedError: the processes cannot meet. When they do not within ``MEETING`` seconds
            (or what ``LIQUID_MEETING`` says) the process says so and is killed, since MLX cannot be
            interrupted there.
    """
    if not launched():
        return Team()
    import mlx.core as mx

    rank, before = own_rank() or 0, _sockets()
    try:
        with _watch(rank):
            team = Team(mx.distributed.init(strict=True), one_model=one_model)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DistributedError(
            f"rank {rank} ({os.uname().nodename}) cannot meet the others ({reason}): check the "
            "hostfile, and that all machines run the same command and reach each other."
        ) from None
    for number in _sockets() - before:
        _notice_loss(number)
    return team


def _sockets() -> set[int]:
    """The numbers of this process's sockets."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # that of the listing itself is closed again
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found


def _notice_loss(number: int) -> None:
    """Let TCP give up a connection whose machine or link has gone silent.

    MLX sets nothing of the kind, and systems wait for hours, or a quarter of one for what they
    have sent.
    """
    if sys.platform == "darwin":
        options = {socket.TCP_KEEPALIVE: LOST - 15, 0x80: LOST}  # TCP_RXT_CONNDROPTIME
    else:
        options = {socket.TCP_KEEPIDLE: LOST - 15, socket.TCP_USER_TIMEOUT: LOST * 1000}
    options |= {socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as connection:
        for option, value in options.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@contextmanager
def _watch(rank: int) -> Iterator[None]:
    """End this process, with a sentence, if what is done within takes too long."""
    import subprocess

    value = os.environ.get(LONGER, "")
    seconds = float(value) if value.isascii() and value.isdigit() else MEETING
    said = (
        f"liquid: rank {rank} ({os.uname().nodename}) has waited {seconds:.0f} s for the other "
        "processes: check that every machine of the hostfile is up, runs the same command and can "
        "be reached from the others."
    )
    # Rank 0 is to speak first, and its launcher then ends the others.
    arguments = [str(seconds + min(rank, 3)), str(os.getpid()), said]
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert watch.stdin is not None
    try:
        yield
    finally:
        watch.stdin.close()
        watch.wait()
