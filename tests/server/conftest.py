"""A running server on a port of its own, with a small model, and the official client."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from openai import OpenAI
from PIL import Image

from liquid_mlx import load
from liquid_mlx.model import Liquid
from liquid_mlx.server.app import Options
from liquid_mlx.server.models import Models
from liquid_mlx.server.run import bind, server
from liquid_mlx.server.state import State


@dataclass
class Served:
    """A server in this process."""

    http: httpx.Client
    url: str
    port: int
    state: State
    model: str
    folder: str
    uvicorn: uvicorn.Server

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json=body, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    @property
    def under_way(self) -> int:
        """Requests that are being answered."""
        return self.uvicorn.config.app._under_way

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)


@contextmanager
def serving(sources: list[str], options: Options, **settings: Any) -> Iterator[Served]:
    """A server with these models until the block is left."""
    models = Models(sources, "float32", settings.pop("keep_alive", None), **settings)
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    started = threading.Event()
    running = server(models, options, started.set)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert started.wait(60)
        state = running.config.app._app.state.liquid
        assert state.scheduler.ready.wait(60)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, verify=False, trust_env=False, timeout=120) as http:
            yield Served(http, url, port, state, models.names[0], sources[0], running)
    finally:
        running.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def folder(converted: Callable[..., Any]) -> str:
    return str(converted("gemma_tiny"))


@pytest.fixture(scope="session")
def liquid(folder: str) -> Liquid:
    """The model that the server has, to compare with."""
    return load(folder, dtype="float32")


@pytest.fixture(scope="session")
def served(folder: str) -> Iterator[Served]:
    with serving([folder], Options()) as running:
        yield running


@pytest.fixture(scope="session")
def client(served: Served) -> OpenAI:
    return served.client()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    picture = Image.new("RGB", (80, 60), (38, 84, 222))
    picture.paste((246, 246, 246), (20, 15, 60, 45))
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def photo_url(photo: bytes) -> str:
    return data_url(photo)


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture(b64: str) -> Image.Image:
    """The picture that an answer holds."""
    image = Image.open(io.BytesIO(base64.b64decode(b64)))
    image.load()
    return image
