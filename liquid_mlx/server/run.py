"""Running the application: a socket that is bound first, and an orderly end."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence

import uvicorn

from liquid_mlx.errors import UsageError
from liquid_mlx.server.app import Options, build
from liquid_mlx.server.models import Models
from liquid_mlx.server.scheduler import Scheduler

HEADER_BYTES = 64 << 10


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server with that host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the address is in use, not one of this machine, or not allowed.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.getaddrinfo(host, port, family)  # no socket is left open by what is no address
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError, TypeError, ValueError) as error:  # the last: no name of a host
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{host}:{port} cannot be listened on ({reason}): choose another --port or --host."
        ) from None


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it is up."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]):
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()


def server(
    models: Models,
    options: Options,
    started: Callable[[], None],
    scheduler: Scheduler | None = None,
) -> uvicorn.Server:
    """uvicorn around the application.

    Args:
        started: called once connections are taken. Models are loaded from then on.
    """
    config = uvicorn.Config(
        build(models, options, scheduler),
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_graceful_shutdown=max(1, round(options.limits.grace)),
    )
    return _Server(config, started)


def serve(
    models: Models, options: Options, listening: socket.socket, started: Callable[[], None]
) -> None:
    """Answer requests until SIGINT or SIGTERM; those that run may finish for a while."""
    with contextlib.closing(listening):
        server(models, options, started).run(sockets=[listening])


def address(host: str, listening: socket.socket) -> str:
    """The URL of the page."""
    port = listening.getsockname()[1]
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def hosts_of(host: str, more: Sequence[str]) -> list[str]:
    """The names that a Host header may have, besides those of this machine."""
    return [f"[{host}]" if ":" in host else host, *more]
