"""A server whose model several processes hold: rank 0 speaks HTTP, the others do as it does.

Every rank does the same rounds of the same jobs, so that all take part in every pass of the model.
Only rank 0 knows requests and clocks: before a round it tells the others which jobs begin and
which are given up.
"""

from __future__ import annotations

import base64
import contextlib
import io
import pickle
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import is_dataclass
from itertools import count
from typing import Literal, ParamSpec, TypeVar

from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import DistributedError
from liquid_mlx.model import Liquid, load
from liquid_mlx.server.app import Options
from liquid_mlx.server.errors import APIError
from liquid_mlx.server.metrics import Metrics
from liquid_mlx.server.models import Models
from liquid_mlx.server.run import server
from liquid_mlx.server.scheduler import Ended, Job, Kind, Order, Scheduler, Task, Work

P = ParamSpec("P")
T = TypeVar("T")
TICK = 0.05  # seconds between rounds where there is nothing to do: a rank that waits uses a core
# Errors of this machine alone, behind which the ranks may not be at the same place any more.
PARTING = (MemoryError, OSError, RuntimeError)
Told = tuple[list[int], list[tuple[int, str, Kind, Job]]]  # jobs given up, jobs that begin


class _Orders(pickle.Unpickler):
    """Reads what rank 0 tells: jobs of this server and their settings, and nothing that acts."""

    _modules = tuple(f"liquid_mlx.{name}" for name in ("params", "server.requests", "server.jobs"))

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == (Order.__module__, Order.__name__):
            return Order
        if module in self._modules and "." not in name:
            found: object = super().find_class(module, name)
            plain = is_dataclass(found) or hasattr(found, "__wrapped__")  # settings, or a job
            if plain and getattr(found, "__module__", "") == module:
                return found
        raise DistributedError(f"Rank 0 tells of {module}.{name}, which is no job.")


class SharedModels(Models):
    """Models of which this rank holds its part."""

    def __init__(
        self,
        sources: Sequence[str],
        dtype: str | None,
        team: Team,
        layers: Sequence[int] | Literal["auto"] | None,
    ):
        super().__init__(sources, dtype, None)
        self._group, self._layers = team.group, layers
        self._pixels = _Here()

    def _load(self, name: str) -> Liquid:
        source, _ = self._sources[name]
        return load(source, dtype=self._dtype, group=self._group, layers=self._layers)


class _Here(Executor):
    """Does everything at once: that of other threads would end at another step on every rank."""

    def submit(self, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class _Rank(Scheduler):
    """The jobs of one rank."""

    idle = TICK

    def __init__(self, models: Models, team: Team, most_waiting: int = 0):
        super().__init__(models, Metrics(), most_waiting)
        self._team = team

    def _failed(self, tasks: Sequence[Task], error: Exception) -> None:
        shared = isinstance(error, DistributedError) and error.shared
        if isinstance(error, (DistributedError, *PARTING)) and not shared:
            raise error
        super()._failed(tasks, error)


class Leader(_Rank):
    """Rank 0's, to which requests come.

    Attributes:
        error: what ended it, if not ``close``.
        on_end: called, on the thread of the models, when that has happened.
    """

    error: Exception | None = None

    def __init__(self, models: Models, team: Team, most_waiting: int):
        super().__init__(models, team, most_waiting)
        self.on_end: Callable[[], None] = lambda: None
        self._numbers = count()

    def _run(self) -> None:
        try:
            for name in self.models.names:
                self.models.load(name)
            super()._run()
            self._team.from_first("")
        except Exception as error:
            self.error = error
            with self._wake:
                self._closing = True
                left = [*self._waiting, *self._running]
            ended = APIError(503, "The server has stopped.", code="stopping", retry=False)
            for task in left:
                task.work.post(task.index, Ended(ended))
            self.on_end()

    def _go_on(self, cancelled: Sequence[Task], chosen: Sequence[Task]) -> bool:
        begin = []
        for task in chosen:
            task.number = next(self._numbers)
            job = task.work.jobs[task.index]
            begin.append((task.number, task.work.model, task.work.kind, job))
        told: Told = [task.number for task in cancelled], begin
        self._team.from_first(base64.b64encode(pickle.dumps(told)).decode())
        return super()._go_on(cancelled, chosen)


class Follower(_Rank):
    """Another rank's: it does what it is told."""

    def follow(self) -> None:
        """Load the models, and do rounds until rank 0 ends.

        Raises:
            LiquidError: the models cannot be loaded, or rank 0 has gone.
        """
        for name in self.models.names:
            self.models.load(name)
        while text := self._team.from_first(""):
            told: Told = _Orders(io.BytesIO(base64.b64decode(text))).load()
            numbers, begin = told
            chosen = [Task(_Unheard(model, kind, job), 0, n) for n, model, kind, job in begin]
            self._go_on([task for task in self._running if task.number in numbers], chosen)
            if not self._running:
                time.sleep(TICK)


class _Unheard(Work):
    """A job whose events go nowhere: rank 0 sends its own."""

    def __init__(self, model: str, kind: Kind, job: Job):
        self.model, self.kind, self.jobs = model, kind, [job]
        self.cancelled = False

    def post(self, index: int, event: object) -> None:
        pass


def lead(
    models: Models,
    options: Options,
    listening: socket.socket,
    started: Callable[[], None],
    team: Team,
) -> None:
    """``serve`` on rank 0.

    Raises:
        LiquidError: the models cannot be loaded, or another rank has gone.
    """
    leader = Leader(models, team, options.limits.waiting)
    running = server(models, options, started, leader)

    def end() -> None:
        running.should_exit = True

    leader.on_end = end
    with contextlib.closing(listening):
        running.run(sockets=[listening])
    if leader.error is not None:
        raise leader.error


def follow(models: Models, team: Team) -> None:
    """What the other ranks do meanwhile; Ctrl-C is for rank 0 to heed, which then ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Follower(models, team).follow()
