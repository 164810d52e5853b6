"""Errors as OpenAI's clients know them: status, message, type, param and code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from liquid_mlx.errors import (
    DistributedError,
    ImageError,
    LiquidError,
    LowMemoryError,
    PromptError,
    SettingsError,
    UsageError,
)

log = logging.getLogger("liquid_mlx.server")

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


class APIError(LiquidError):
    """What a client is told instead of an answer.

    Args:
        param: the field that is wrong.
        code: a word for programs.
        retry: seconds after which the same request may succeed; False if it never will.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry: int | bool | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry = retry

    @property
    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "server_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry is False:  # the official clients try again unless told not to
            headers["x-should-retry"] = "false"
        elif self.retry is not None:
            headers["Retry-After"] = str(int(self.retry))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (408, 413):  # what is still on its way is not read
            headers["Connection"] = "close"
        return headers

    def response(self, extra: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers={**self.headers, **(extra or {})})


class ClientGoneError(APIError):
    """The client went away, and its work has been given up; for the log alone."""

    def __init__(self) -> None:
        super().__init__(499, "The client went away.")


def bad(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """A request that must be changed before it is sent again."""
    return APIError(400, message, param=param, code=code)


def as_api_error(error: BaseException) -> APIError:
    """What a client is told of any error; what it must not know goes to the log."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, ClientDisconnect):  # before all of its body had come
        return ClientGoneError()
    if isinstance(error, PromptError):
        code = "context_length_exceeded" if "too long" in str(error) else "invalid_prompt"
        return bad(str(error), code=code)
    if isinstance(error, ImageError):
        return bad(str(error), code="invalid_image")
    if isinstance(error, SettingsError | UsageError):
        return bad(str(error), code="invalid_value")
    if isinstance(error, LowMemoryError):
        return APIError(503, str(error), code="out_of_memory", retry=False)
    if isinstance(error, DistributedError):  # it names machines
        log.error("a request failed: %s", error)
        return APIError(
            503, "One of the server's machines cannot do this.", code="out_of_memory", retry=False
        )
    log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return APIError(500, "The server failed; its log says why.", code="internal_error", retry=False)
