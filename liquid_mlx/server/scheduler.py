"""One thread owns the models; requests wait in a bounded queue and get their events back.

MLX's streams belong to threads, so the language models run on that thread alone; pixels have
threads, and so streams, of their own. A job is a generator: it yields an event to be sent, None to
wait for the next round, or Aside to wait for another thread. In every round each job goes on once
and each model's batch makes one step, so no job waits for another to end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import Any, Literal, ParamSpec

from liquid_mlx.errors import LiquidError
from liquid_mlx.server.errors import APIError
from liquid_mlx.server.events import Aside
from liquid_mlx.server.metrics import Metrics
from liquid_mlx.server.models import Loaded, Models

log = logging.getLogger("liquid_mlx.server")

Kind = Literal["image", "text", "steps"]
Job = Callable[[Loaded], Iterator[object]]
P = ParamSpec("P")
# How many jobs of a kind run at once. "steps" are those that do not share a batch.
RUNNING: dict[Kind, int] = {"image": 8, "text": 16, "steps": 2}
STARTED = 2  # jobs that a round may start: each reads its prompt, while all others wait
IDLE = 3600.0
GLANCE = 0.002  # seconds between looks at another thread, while nothing else can be done


@dataclass(frozen=True)
class Order:
    """A job by how it is made, which other processes can be told."""

    make: Callable[..., Job]
    arguments: tuple[Any, ...]

    def __call__(self, model: Loaded) -> Iterator[object]:
        job: Job = inspect.unwrap(self.make)(*self.arguments)
        return job(model)


def ordered(make: Callable[P, Job]) -> Callable[P, Job]:
    """A function that makes jobs, as one that makes orders of them."""

    @wraps(make)
    def order(*arguments: P.args, **named: P.kwargs) -> Job:
        return Order(order, inspect.signature(make).bind(*arguments, **named).args)

    return order


@dataclass(frozen=True)
class Ended:
    """The last event of a job, with the error that ended it, if one did."""

    error: BaseException | None = None


class Work:
    """The jobs of one request, and their events: ``async with``, then ``async for``.

    Leaving it gives up what is not done, between two tokens.
    """

    def __init__(self, scheduler: Scheduler, model: str, kind: Kind, jobs: Sequence[Job]):
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, object]] = asyncio.Queue()
        self._left = len(jobs)
        self._scheduler = scheduler
        self.model = model
        self.kind: Kind = kind
        self.jobs = list(jobs)
        self.cancelled = False

    async def __aenter__(self) -> Work:
        self._scheduler.submit(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancelled = True

    def post(self, index: int, event: object) -> None:
        """Hand an event over; from any thread."""
        with suppress(RuntimeError):  # the loop has closed: nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

    def stop(self, error: BaseException) -> None:
        """End it for whoever listens, with this error."""
        self.cancelled = True
        self._events.put_nowait((0, Ended(error)))

    async def __aiter__(self) -> AsyncIterator[tuple[int, object]]:
        """(job, event) until all jobs have ended; raises the error of one that failed."""
        while self._left:
            index, event = await self._events.get()
            if not isinstance(event, Ended):
                yield index, event
                continue
            if event.error is not None:
                raise event.error
            self._left -= 1


@dataclass(eq=False)
class Task:
    """A job that waits or runs; ``number`` is its own among those of several processes."""

    work: Work
    index: int
    number: int = 0
    steps: Iterator[object] | None = None
    model: Loaded | None = None
    started: float = 0.0


class Scheduler:
    """The thread of the models and its queue.

    Args:
        most_waiting: jobs that may wait; a request beyond is refused.
    """

    idle = IDLE  # the longest that it waits for a request

    def __init__(self, models: Models, metrics: Metrics, most_waiting: int = 64):
        self.models = models
        self.metrics = metrics
        self._most_waiting = most_waiting
        self._waiting: deque[Task] = deque()
        self._running: list[Task] = []
        self._wake = threading.Condition()
        self._closing = False
        self._seconds = 1.0  # of a job, about: what Retry-After goes by
        self.ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def submit(self, work: Work) -> None:
        """Queue the jobs of a request, all or none.

        Raises:
            APIError: too many wait already, or the server is about to stop.
        """
        with self._wake:
            if self._closing:
                raise APIError(503, "The server is about to stop.", code="stopping", retry=10)
            places = self._most_waiting - sum(1 for t in self._waiting if not t.work.cancelled)
            if len(work.jobs) > places and (self._waiting or self._running or places < 1):
                self.metrics.refused += 1
                raise APIError(
                    503,
                    "Too many requests are waiting: try again later.",
                    code="overloaded",
                    retry=max(1, min(60, round(self._seconds * len(self._waiting) / 8))),
                )
            self._waiting.extend(Task(work, index) for index in range(len(work.jobs)))
            self._wake.notify()

    def close(self, seconds: float) -> None:
        """Take no more jobs, let those that run finish for so long, and end the thread."""
        end = time.monotonic() + seconds
        with self._wake:
            self._closing = True
            self._wake.notify()
        while self._thread.is_alive() and time.monotonic() < end:
            self._thread.join(0.05)
        for task in [*self._waiting, *self._running]:
            task.work.cancelled = True
        if self._thread.ident is not None:
            self._thread.join(30)

    def _run(self) -> None:
        for name in self.models.names:
            with suppress(APIError):  # it is in the log; the others may load
                self.models.get(name)
        self.ready.set()
        while True:
            if not self._running:
                self._settle()
            due = self.models.drop_idle()
            with self._wake:
                if not self._waiting and not self._running:
                    if self._closing:
                        break
                    self._wake.wait(self.idle if due is None else due + 0.01)
            given_up = [task for task in self._running if task.work.cancelled]
            if not self._go_on(given_up, self._chosen()):
                with self._wake:
                    self._wake.wait(GLANCE)
        self.models.close()

    def _settle(self) -> None:
        """Free what those held that left before a step that they were in."""
        for model in self.models.loaded.values():
            model.batch.settle()

    def _chosen(self) -> list[Task]:
        """Those that start: in the order in which they came, but no kind waits for another."""
        running = Counter(t.work.kind for t in self._running if not t.work.cancelled)
        chosen: list[Task] = []
        with self._wake:
            self._waiting = deque(t for t in self._waiting if not t.work.cancelled)
            for task in self._waiting:
                if len(chosen) < STARTED and running[task.work.kind] < RUNNING[task.work.kind]:
                    running[task.work.kind] += 1
                    chosen.append(task)
            for task in chosen:
                self._waiting.remove(task)
        return chosen

    def _go_on(self, cancelled: Sequence[Task], chosen: Sequence[Task]) -> bool:
        """Give up some jobs, start others, and do a round; whether any job went on."""
        for task in cancelled:
            self._end(task)
            self.metrics.cancelled += 1
        self._start(chosen)
        return self._round()

    def _start(self, chosen: Sequence[Task]) -> None:
        for task in chosen:
            try:
                task.model = self.models.get(task.work.model)
                task.steps = iter(task.work.jobs[task.index](task.model))
            except Exception as error:
                self._failed([task], error)
                continue
            task.started = time.monotonic()
            task.model.jobs += 1
            self._running.append(task)

    def _round(self) -> bool:
        """Every job goes on once, and every batch by one token; whether any of them did."""
        moved = [self._advance(task) for task in list(self._running)]
        went_on = any(moved) or not moved
        for name, model in list(self.models.loaded.items()):
            started = time.perf_counter()
            try:
                tokens = model.batch.step()
            except Exception as error:
                model.batch.clear()
                self._failed([t for t in self._running if t.model is model], error)
                continue
            if tokens:
                went_on = True
                self.metrics.step(name, tokens, time.perf_counter() - started)
        return went_on

    def _advance(self, task: Task) -> bool:
        """Let a job go on until it waits; whether it does not wait for another thread."""
        assert task.steps is not None
        try:
            while True:
                event = next(task.steps)
                if event is None or isinstance(event, Aside):
                    return event is None
                task.work.post(task.index, event)
        except StopIteration:
            self._end(task)
            self._seconds += 0.1 * (time.monotonic() - task.started - self._seconds)
        except Exception as error:  # of this job alone
            if not isinstance(error, LiquidError):
                log.debug("a job failed", exc_info=error)
            self._failed([task], error)
        return True

    def _failed(self, tasks: Sequence[Task], error: Exception) -> None:
        """End the jobs that an error is of."""
        for task in tasks:
            self._end(task, error)

    def _end(self, task: Task, error: BaseException | None = None) -> None:
        if task.steps is not None:
            with suppress(Exception):
                task.steps.close()  # type: ignore[attr-defined]
        if task in self._running:
            self._running.remove(task)
        if task.model is not None and task.steps is not None:
            task.model.jobs -= 1
            task.model.used = time.monotonic()
        task.work.post(task.index, Ended(error))
