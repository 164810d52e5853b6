"""The application: which route does what, and what becomes of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from liquid_mlx.server.errors import APIError, as_api_error
from liquid_mlx.server.guard import Access, Guard
from liquid_mlx.server.metrics import Metrics
from liquid_mlx.server.models import Models
from liquid_mlx.server.routes import chat, completions, images, system
from liquid_mlx.server.scheduler import Scheduler
from liquid_mlx.server.state import State

ROUTES = [
    Route("/", system.page),
    Route("/static/{name}", system.page),
    Route("/health", system.health),
    Route("/metrics", system.metrics),
    Route("/v1/models", system.models),
    Route("/v1/models/{name:path}", system.model),
    Route("/v1/images/generations", images.generations, methods=["POST"]),
    Route("/v1/images/edits", images.edits, methods=["POST"]),
    Route("/v1/images/variations", images.variations, methods=["POST"]),
    Route("/v1/chat/completions", chat.completions, methods=["POST"]),
    Route("/v1/completions", completions.completions, methods=["POST"]),
    Route("/v1/choices", chat.choices, methods=["POST"]),
    Route("/v1/captions", chat.captions, methods=["POST"]),
]

NO_ROUTE = {
    404: ("not_found", "The server has no such route."),
    405: ("method_not_allowed", "This route does not take that method."),
}


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        waiting: jobs that may wait for their turn.
        seconds: the longest that a request may take.
        grace: seconds for which running requests may go on when the server is to stop.
    """

    waiting: int = 64
    seconds: float = 600.0
    grace: float = 30.0


@dataclass(frozen=True)
class Options:
    """All that ``serve`` decides before the first request."""

    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    remote_images: bool = False
    log_prompts: bool = False


def build(models: Models, options: Options, scheduler: Scheduler | None = None) -> Guard:
    """The ASGI application; the models are loaded once it starts."""
    scheduler = scheduler or Scheduler(models, Metrics(), options.limits.waiting)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        scheduler.start()
        try:
            yield
        finally:
            await asyncio.to_thread(scheduler.close, 0.0)

    # Starlette's own place for all other errors answers and raises them again.
    errors = Middleware(ExceptionMiddleware, handlers={Exception: _error})
    http = {HTTPException: _http}
    app = Starlette(routes=ROUTES, lifespan=lifespan, middleware=[errors], exception_handlers=http)
    app.router.redirect_slashes = False
    app.state.liquid = State(
        models,
        scheduler,
        scheduler.metrics,
        options.limits.seconds,
        options.remote_images,
        options.log_prompts,
    )
    paths = [route.path for route in ROUTES]
    return Guard(app, options.access, scheduler.metrics, paths)


async def _http(request: Request, error: Exception) -> Response:
    """Routes that do not exist, methods that they do not have."""
    assert isinstance(error, HTTPException)
    code, message = NO_ROUTE.get(error.status_code, ("invalid_request", f"{error.detail}."))
    return APIError(error.status_code, message, code=code).response(error.headers)


async def _error(request: Request, error: Exception) -> Response:
    return as_api_error(error).response()
