"""What every request passes first: who may ask, from where, how much, and what browsers are told.

A server on a laptop is reached by every web page that its user opens. So a name that is not ours
(DNS rebinding), a foreign page and a body of another type than JSON are refused before anything
is read; what comes is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liquid_mlx.server.errors import APIError, ClientGoneError, as_api_error
from liquid_mlx.server.metrics import Metrics

log = logging.getLogger("liquid_mlx.server")

LOCAL = ("localhost", "127.0.0.1", "[::1]")
MOST_REQUESTS = 512  # under way at once
BODY_SECONDS = 60.0
SEND_SECONDS = 60.0  # for which a client may take nothing of its answer
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
OPEN = ("/", "/health")  # without a key, as is what lies under /static/


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    Attributes:
        hosts: names under which it is reached; LOCAL ones always are.
        any_host: it listens on other interfaces and asks for a key, so every name will do.
        origins: pages of other servers that may use it.
        key: what requests must bring as ``Authorization: Bearer KEY``.
        most_bytes: of a body.
    """

    hosts: Collection[str] = ()
    any_host: bool = False
    origins: Collection[str] = ()
    key: str | None = field(default=None, repr=False)
    most_bytes: int = 32 << 20


async def _in_time(work: Awaitable[None], seconds: float) -> bool:
    """Wait for it at most so long; whether it ended. It begins at once, in the task that calls.

    `asyncio.wait_for` begins a moment later: a client that half-closes gets no answer then.
    """
    task, late = asyncio.current_task(), False
    assert task is not None

    def stop() -> None:
        nonlocal late
        late = True
        task.cancel()

    alarm = asyncio.get_running_loop().call_later(seconds, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not late:
            raise
        if hasattr(task, "uncancel"):  # Python 3.11 and later count
            task.uncancel()
        return False
    finally:
        alarm.cancel()
    return True


class Guard:
    """ASGI middleware around all routes."""

    def __init__(
        self, app: ASGIApp, access: Access, metrics: Metrics, routes: Collection[str] = ()
    ):
        self._app = app
        self._routes = set(routes)
        self._access = access
        self._metrics = metrics
        self._under_way = 0
        self._hosts = {*LOCAL, *(host.lower() for host in access.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        status, stuck = 0, False

        async def marked(message: Message) -> None:
            nonlocal status, stuck
            if message["type"] == "http.response.start":
                status = message["status"]
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
                if origin in self._access.origins:
                    found["Access-Control-Allow-Origin"] = origin or ""
                    found["Cross-Origin-Resource-Policy"] = "cross-origin"
                    found.add_vary_header("Origin")
            if not await _in_time(send(message), SEND_SECONDS):
                stuck = True
                raise ClientGoneError

        self._under_way += 1
        try:
            answer = self._checked(scope, headers)
            if answer is not None:
                await answer(scope, receive, marked)
            else:
                await self._app(scope, self._limited(receive), marked)
        except Exception as error:
            if stuck:
                log.info("%s: the client takes nothing of its answer", scope["path"][:80])
                return
            if status:
                raise
            await as_api_error(error).response()(scope, receive, marked)
        finally:
            self._under_way -= 1
            seconds = time.monotonic() - started
            path = scope["path"]
            route = path if path in self._routes else "other"  # log and metrics stay bounded
            self._metrics.request(route, status, seconds)
            log.info("%s %s %d %.2f s", scope["method"][:10], route, status, seconds)

    def _checked(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse, or answer what a browser asks beforehand, or None to go on."""
        if "transfer-encoding" in headers and "content-length" in headers:
            raise APIError(400, "A body has one length.", code="invalid_request")
        self._check_host(headers)
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, headers["host"]):
            if origin not in self._access.origins:
                raise APIError(403, "Pages of other servers may not use this one.", code="origin")
            if scope["method"] == "OPTIONS":
                return _preflight()
        if self._under_way > MOST_REQUESTS:
            self._metrics.refused += 1
            raise APIError(503, "Too many requests at once.", code="overloaded", retry=5)
        length = headers.get("content-length")
        if length is not None and not re.fullmatch("[0-9]{1,15}", length):
            raise APIError(400, "A body's length is a number.", code="invalid_request")
        if length is not None and int(length) > self._access.most_bytes:
            raise self._too_large
        path = scope["path"]
        if self._access.key is not None and path not in OPEN and not path.startswith("/static/"):
            scheme, _, key = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(key.strip().encode(), self._access.key.encode())
            if scheme.lower() != "bearer" or not right:
                raise APIError(
                    401, "Give the server's key as a bearer token.", code="invalid_api_key"
                )
        return None

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            raise APIError(400, "A request has one Host header.", code="invalid_host")
        if not self._access.any_host and found[1].lower() not in self._hosts:
            raise APIError(403, "This server is not reached by that name.", code="host")

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page is the server's own (a proxy in front of it may speak TLS)."""
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")

    @property
    def _too_large(self) -> APIError:
        most = self._access.most_bytes
        return APIError(413, f"A body may have {most >> 20} MiB.", code="body_too_large")

    def _limited(self, receive: Receive) -> Receive:
        """``receive`` that ends with an error for too long or too slow a body."""
        read, complete, end = 0, False, time.monotonic() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal read, complete
            if complete:  # what comes now is that the client leaves
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except (TimeoutError, asyncio.TimeoutError):
                raise APIError(408, "The body took too long to come.", code="timeout") from None
            read += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if read > self._access.most_bytes:
                raise self._too_large
            return message

        return limited


def _preflight() -> Response:
    headers = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=headers)
