"""OpenAI's messages to turns: texts and pictures, the system's text in the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from liquid_mlx.server.errors import bad
from liquid_mlx.server.remote import fetch
from liquid_mlx.server.requests import Part, Turn
from liquid_mlx.server.schemas import (
    MOST_PICTURES,
    MOST_TEXT,
    MOST_TURNS,
    check_picture,
    data_url,
    required_text,
)

MOST_ADDRESS = 2048
SYSTEM = ("system", "developer")


async def turns_of(messages: Any, remote: bool) -> list[Turn]:
    """The turns of a conversation, user first, no role twice in a row.

    Args:
        messages: as OpenAI has them. A content is a text or a list of parts, of the types
            ``text`` and ``image_url``.
        remote: pictures may be fetched from the web.

    Raises:
        APIError: they are no such messages.
    """
    if not isinstance(messages, list) or not messages:
        raise bad("messages is a list of messages.", "messages", "invalid_type")
    if len(messages) > MOST_TURNS:
        raise bad(f"messages are more than {MOST_TURNS}.", "messages", "array_above_max_length")
    system: list[Part] = []
    found: list[Turn] = []
    pictures = 0
    for index, message in enumerate(messages):
        name = f"messages[{index}]"
        if not isinstance(message, dict):
            raise bad(f"{name} is not an object.", name, "invalid_type")
        role = message.get("role")
        parts = await _parts(message.get("content"), f"{name}.content", remote)
        pictures += sum(part.picture is not None for part in parts)
        if pictures > MOST_PICTURES:
            raise bad(f"There are more than {MOST_PICTURES} pictures.", name, "too_many_images")
        if role in SYSTEM:
            system += [part for part in parts if part.picture is None]
        elif role not in ("user", "assistant"):
            known = "user, assistant, system and developer"
            raise bad(f"{name}.role is none of {known}.", f"{name}.role", "invalid_value")
        elif found and found[-1].role == role:
            found[-1] = Turn(role, [*found[-1].parts, Part("\n"), *parts])
        else:
            found.append(Turn(role, parts))
    if system and found and found[0].role == "user":
        words = [Part(part.text + "\n\n") for part in system]
        found[0] = Turn("user", _pictures_first([*words, *found[0].parts]))
    return found


def _pictures_first(parts: Sequence[Part]) -> list[Part]:
    """Pictures before the words about them, as the model was trained."""
    pictures = [part for part in parts if part.picture is not None]
    return [*pictures, *(part for part in parts if part.picture is None)]


async def _parts(content: Any, name: str, remote: bool) -> list[Part]:
    if isinstance(content, str):
        return [Part(required_text(content, name, MOST_TEXT))]
    if not isinstance(content, list) or not 0 < len(content) <= MOST_TURNS:
        raise bad(f"{name} is a text or a list of parts.", name, "invalid_type")
    parts = []
    for index, part in enumerate(content):
        place = f"{name}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            parts.append(Part(required_text(part.get("text"), f"{place}.text", MOST_TEXT)))
        elif kind == "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            parts.append(Part(picture=await picture_of(url, f"{place}.image_url", remote)))
        else:
            raise bad(f"{place}.type is text or image_url.", f"{place}.type", "invalid_value")
    return parts


async def picture_of(url: Any, name: str, remote: bool) -> bytes:
    """The picture that a URL holds or names."""
    if not isinstance(url, str):
        raise bad(f"{name} is not a URL.", name, "invalid_type")
    data = data_url(url, name)
    if data is not None:
        return data
    if not remote:
        raise bad(
            "This server fetches nothing from the web: send the picture itself as a data: URL "
            "(or start it with --allow-remote-images).",
            name,
            "remote_images_not_allowed",
        )
    if len(url) > MOST_ADDRESS:
        raise bad("The picture's address is too long.", name, "invalid_image_url")
    return check_picture(await asyncio.to_thread(fetch, url, name), name)
