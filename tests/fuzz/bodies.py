"""What clients may send to a server."""

from __future__ import annotations

import base64
import functools
import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from liquid_mlx.server.app import Options, build
from liquid_mlx.server.models import Models
from tests.fuzz import values
from tests.fuzz.damage import damage_bytes

BOUNDARY = "b0undary"
NUMBERS = ("guidance", "temperature", "top_k", "top_p", "seed", "n", "best_of", "partial_images",
           "max_tokens", "logprobs", "output_compression", "keep_rows", "strength")  # fmt: skip


@functools.cache
def photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (20, 16), (200, 30, 30, 0)).save(file, "PNG")
    return file.getvalue()


def spoiled_photo(chance: random.Random) -> bytes:
    """A picture's file, damaged half of the time."""
    return damage_bytes(photo(), chance) if chance.random() < 0.25 else photo()


def url(chance: random.Random) -> str:
    data = base64.b64encode(spoiled_photo(chance)).decode()
    real = f"data:image/png;base64,{data}"
    others = ["file:///etc/passwd", "http://127.0.0.1:1/x.png", "data:,x", values.text(chance)]
    return real if chance.random() < 0.85 else chance.choice(others)


def _json_bodies(chance: random.Random) -> dict[str, dict[str, Any]]:
    seen = [{"type": "image_url", "image_url": {"url": url(chance)}},
            {"type": "text", "text": values.text(chance)}]  # fmt: skip
    turns = [{"role": "user", "content": seen}, {"role": "assistant", "content": "red"},
             {"role": "user", "content": values.text(chance)}]  # fmt: skip
    return {
        "images/generations": {"prompt": values.text(chance), "n": 1, "seed": 1, "guidance": 2},
        "chat/completions": {"messages": turns[: chance.choice([1, 3])], "max_tokens": 4},
        "completions": {"prompt": [values.text(chance), "x"], "max_tokens": 2, "logprobs": 2},
        "choices": {"question": "Is it red?", "image": url(chance), "choices": ["yes", "no"]},
        "captions": {"image": url(chance), "max_tokens": 3},
    }


def make(chance: random.Random) -> tuple[str, str, bytes]:
    """Path, content type and body of a request."""
    found = _json_bodies(chance)
    path = chance.choice([*found, "images/edits", "images/variations", "models/x"])
    if path not in found:
        return f"/v1/{path}", *_form(chance)
    body = found[path]
    for number in chance.sample(NUMBERS, chance.choice([0, 0, 0, 1, 2])):
        body[number] = values.absurd(chance)
    body["stream"] = chance.random() < 0.3
    kind = "application/json" if chance.random() < 0.95 else values.text(chance)
    text = values.json_text(body, chance) if chance.random() < 0.4 else json.dumps(body)
    return f"/v1/{path}", kind, text.encode("utf-8", "surrogatepass")


def _form(chance: random.Random) -> tuple[str, bytes]:
    parts = {
        "image": spoiled_photo(chance),
        "prompt": values.text(chance).encode("utf-8", "replace"),
    }
    if chance.random() < 0.5:
        parts["mask"] = spoiled_photo(chance)
    for number in chance.sample(NUMBERS, chance.choice([0, 0, 0, 1, 2])):
        parts[number] = values.number(chance).encode()
    body = b""
    for name, value in parts.items():
        file = '; filename="~/../x"' if value.startswith(b"\x89") or name == "image" else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    damaged = damage_bytes(body, chance) if chance.random() < 0.3 else body
    return f"multipart/form-data; boundary={BOUNDARY}", damaged


@contextmanager
def server(model: Path) -> Iterator[TestClient]:
    """A server in this process."""
    app = build(Models([str(model)], None, None), Options())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def send(client: TestClient, argv: list[str], body: bytes) -> Response:
    """The answer to a request."""
    method, path, kind = argv
    headers = {"Content-Type": kind.encode("utf-8", "replace").replace(b"\n", b" ")}
    return client.request(method, path, content=body, headers=headers)  # type: ignore[arg-type]
