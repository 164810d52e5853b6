"""How a request waits for its work, and how events are streamed to a client that may vanish."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from liquid_mlx.server.errors import APIError, ClientGoneError, as_api_error
from liquid_mlx.server.scheduler import Work

Event = tuple[str | None, Mapping[str, Any]]  # its name, for those that have one, and its data


@asynccontextmanager
async def watched(request: Request, work: Work, seconds: float) -> AsyncIterator[Work]:
    """Queue work, and give it up when the client leaves or the time is over."""

    async def until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        work.stop(ClientGoneError())

    late = APIError(
        504, f"The request took longer than {seconds:g} s.", code="timeout", retry=False
    )
    async with work:
        gone = asyncio.create_task(until_gone())
        timer = asyncio.get_running_loop().call_later(seconds, work.stop, late)
        try:
            yield work
        finally:
            timer.cancel()
            gone.cancel()


async def stream(events: AsyncIterator[Event], end: str | None = None) -> Response:
    """Server-sent events. An error before the first one has its own status, as without a stream.

    Args:
        end: what is sent behind the last event.
    """
    try:
        first = await anext(events)
    except StopAsyncIteration:
        first = None

    async def body() -> AsyncIterator[bytes]:
        try:
            if first is not None:
                yield _sse(first)
            async for event in events:
                yield _sse(event)
            if end is not None:
                yield f"data: {end}\n\n".encode()
        except ClientGoneError:
            return
        except Exception as error:
            yield _sse(("error", as_api_error(error).body))
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


def _sse(event: Event) -> bytes:
    name, data = event
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
