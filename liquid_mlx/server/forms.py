"""Reading a request's body: JSON, or a form with files, which never touch the disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from liquid_mlx.server.errors import APIError, bad
from liquid_mlx.server.schemas import MOST_TEXT, parse_json

MOST_FIELDS = 40
IN_MEMORY = 1 << 30  # beyond what any body may have


async def read_json(request: Request) -> Mapping[str, Any]:
    """A JSON body. A browser sends another type to foreign servers without asking them."""
    _require_type(request, "application/json")
    return parse_json(await request.body())


@dataclass(frozen=True)
class Form:
    """The fields of a form, and the contents of its files; what they are called says nothing."""

    values: Mapping[str, str]
    files: Mapping[str, bytes]


async def read_form(request: Request, files: Collection[str]) -> Form:
    """A multipart body in which only the named fields are files."""
    _require_type(request, "multipart/form-data")
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=len(files),
        max_fields=MOST_FIELDS,
        max_part_size=4 * MOST_TEXT,
    )
    parser.spool_max_size = IN_MEMORY
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        if isinstance(error, APIError):
            raise
        raise bad("The form cannot be read.", code="invalid_form") from None
    values: dict[str, str] = {}
    found: dict[str, bytes] = {}
    try:
        for name, value in form.multi_items():
            if name in values or name in found:
                raise bad(f"{name[:40]} is there twice.", name[:40], "invalid_value")
            if not isinstance(value, UploadFile):
                values[name] = value
            elif name in files:
                found[name] = await value.read()
            else:
                raise bad(f"{name[:40]} is not a file.", name[:40], "invalid_type")
    finally:
        await form.close()
    return Form(values, found)


def _require_type(request: Request, wanted: str) -> None:
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != wanted:
        raise APIError(415, f"The body's Content-Type is to be {wanted}.", code="content_type")
