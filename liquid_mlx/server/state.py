"""What all routes of a server share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from liquid_mlx.server.metrics import Metrics
from liquid_mlx.server.models import Models
from liquid_mlx.server.scheduler import Job, Kind, Scheduler, Work

log = logging.getLogger("liquid_mlx.server")


@dataclass(frozen=True)
class State:
    """The models, their thread, and what requests may do.

    Attributes:
        seconds: the longest that a request may take.
        remote_images: pictures may be given as web addresses.
        log_prompts: prompts may stand in the log.
    """

    models: Models
    scheduler: Scheduler
    metrics: Metrics
    seconds: float
    remote_images: bool
    log_prompts: bool

    @classmethod
    def of(cls, request: Request) -> State:
        state = request.app.state.liquid
        assert isinstance(state, cls)
        return state

    def work(self, model: str, kind: Kind, jobs: Sequence[Job]) -> Work:
        return Work(self.scheduler, model, kind, jobs)

    def note(self, prompt: str) -> None:
        """Log a prompt, if that was asked for."""
        if self.log_prompts:
            log.info("prompt: %r", prompt)  # with its control characters spelled out
