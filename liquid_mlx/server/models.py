"""The models of a server: loaded when first asked for, dropped when not asked for long enough."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx.config import LiquidConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.errors import LiquidError, UsageError
from liquid_mlx.files import user_path
from liquid_mlx.hub import DEMO, is_repo_id, resolve
from liquid_mlx.memory import weight_bytes
from liquid_mlx.model import Liquid, load
from liquid_mlx.server.batch import Batch
from liquid_mlx.server.errors import APIError
from liquid_mlx.server.events import Aside

log = logging.getLogger("liquid_mlx.server")
PIXEL_THREADS = 2  # on a CPU; a GPU does one thing at a time
T = TypeVar("T")
SEEN = 32  # pictures whose codes are kept: a chat sends them again with every turn


@dataclass(eq=False)
class Loaded:
    """A model in memory, and what it works on. Only the thread of the models touches it.

    Pixels are encoded and decoded beside it, on threads with streams of their own.
    """

    name: str
    liquid: Liquid
    batch: Batch
    pixels: Executor
    used: float = field(default_factory=time.monotonic)
    jobs: int = 0
    _codes: OrderedDict[tuple[bytes, bool], np.ndarray] = field(default_factory=OrderedDict)

    def decode(self, codes: np.ndarray) -> Future[Image.Image]:
        """The pixels of codes int [rows, columns]."""
        return self.pixels.submit(self.liquid.decode, codes)

    def codes(self, picture: bytes, drawn: bool) -> Generator[Aside, None, np.ndarray]:
        """Codes int32 [rows, columns] of a picture's file.

        Args:
            drawn: it is one of a model's pictures, which may have its codes inside.
        """
        key = hashlib.sha256(picture).digest(), drawn
        if (found := self._codes.get(key)) is None:
            encode = self.liquid.codes if drawn else self.liquid.encode
            found = yield from until(self.pixels.submit(encode, picture))
        self._codes[key] = found
        self._codes.move_to_end(key)
        while len(self._codes) > SEEN:
            self._codes.popitem(last=False)
        return found


def until(future: Future[T]) -> Generator[Aside, None, T]:
    """Wait for another thread, while the batch goes on."""
    try:
        while not future.done():
            yield Aside()
        return future.result()
    finally:
        future.cancel()  # where the job is given up; a thread that is at it ends it first


class Models:
    """The models that a server has, by the names under which requests ask for them.

    Args:
        sources: folders, repo ids or "demo"; the first is for requests that name none.
        adapters: ``NAME=ADAPTER``: the first model with this adapter, served as NAME. They share
            its weights, which stay as long as one of them is used.
        keep_alive: seconds after which a model that nobody uses is dropped; None keeps all.

    Raises:
        LiquidError: one of them is not there, or is not a converted model.
    """

    def __init__(
        self,
        sources: Sequence[str],
        dtype: str | None,
        keep_alive: float | None,
        adapters: Sequence[str] = (),
    ):
        self._sources: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.configs: dict[str, LiquidConfig] = {}
        every: list[tuple[str, str, tuple[str, ...]]] = [
            (public_name(source), source, ()) for source in sources or [DEMO]
        ]
        first = every[0][1]
        every += [_named(adapter, first) for adapter in adapters]
        for name, source, used in every:
            if name in self._sources:
                raise UsageError(f"Two models are called {name}: give one another name.")
            self._sources[name] = source, used
            self.configs[name] = LiquidConfig.read(resolve(source))  # a wrong name ends the start
        self._pixels: Executor = ThreadPoolExecutor(1 if on_gpu() else PIXEL_THREADS, "pixels")
        self._dtype = dtype
        self._keep_alive = keep_alive
        self.loaded: dict[str, Loaded] = {}
        self.failed: dict[str, str] = {}
        self.started = int(time.time())

    @property
    def names(self) -> list[str]:
        return list(self._sources)

    def name(self, asked: str | None) -> str:
        """The name of a model that a request asks for; the first one if it names none."""
        if not asked:
            return self.names[0]
        if asked not in self._sources:
            raise APIError(
                404,
                f"There is no model {asked[:80]!r} here: use {', '.join(self.names)}.",
                param="model",
                code="model_not_found",
            )
        return asked

    def get(self, name: str) -> Loaded:
        """A model, loaded if it is not.

        Raises:
            APIError: it cannot be loaded; the log says why, in words that may name files.
        """
        if name not in self.loaded:
            started = time.monotonic()
            try:
                self.load(name)
            except (LiquidError, OSError, MemoryError, RuntimeError) as error:
                self.failed[name] = type(error).__name__
                log.error("the model %s cannot be loaded: %s", name, error)
                raise APIError(
                    503,
                    f"The model {name} cannot be loaded; the server's log says why.",
                    param="model",
                    code="model_not_loaded",
                    retry=False,
                ) from None
            self.failed.pop(name, None)
            log.info("%s loaded in %.1f s", name, time.monotonic() - started)
        found = self.loaded[name]
        found.used = time.monotonic()
        return found

    def load(self, name: str) -> None:
        """Load a model; raises what loading raises."""
        liquid = self._load(name)
        liquid.name = name  # what pictures say of their model; a path tells too much
        liquid.adapters = ()
        used = weight_bytes(liquid.engine.backbone, liquid.engine.backbone.dtype)
        used += weight_bytes(liquid.vqgan, mx.float32)
        mx.eval(liquid.vqgan.parameters())  # threads share only what is evaluated
        batch = Batch(liquid.engine, liquid.config, used)
        liquid.drawn_by = batch.draw  # edits, variations and candidates, too
        self.loaded[name] = Loaded(name, liquid, batch, self._pixels)

    def _load(self, name: str) -> Liquid:
        """A model, or an adapter over its base, which is loaded if it is not."""
        source, adapters = self._sources[name]
        if adapters:
            with suppress(UsageError):  # it holds whole tensors, which are merged when reading
                return self.get(self.names[0]).liquid.with_adapters(*adapters)
        return load(source, dtype=self._dtype, adapter=adapters)

    def close(self) -> None:
        """End the threads of pixels; nothing can be drawn any more."""
        self._pixels.shutdown(cancel_futures=True)

    def drop_idle(self) -> float | None:
        """Drop what nobody has used; in how many seconds the next one is due (None: never)."""
        if self._keep_alive is None:
            return None
        due = []
        uses_first = any(self._sources[name][1] for name in self.loaded)
        for name, one in list(self.loaded.items()):
            left = one.used + self._keep_alive - time.monotonic()
            if one.jobs or (name == self.names[0] and uses_first):
                continue
            if left > 0:
                due.append(left)
                continue
            del self.loaded[name]
            mx.clear_cache()
            log.info("%s dropped: nobody has used it for %g s", name, self._keep_alive)
        return min(due, default=None)


def _named(adapter: str, source: str) -> tuple[str, str, tuple[str, ...]]:
    """The name of an adapter, the model that it belongs to, and where it is."""
    name, equals, found = adapter.partition("=")
    if not equals or not name or not found:
        raise UsageError(f"--adapter is NAME=FOLDER, not {adapter[:100]!r}.")
    return name, source, (found,)


def public_name(source: str) -> str:
    """The name that requests use: a repo id as it is, of a folder its last part."""
    path = user_path(source)
    if path.is_dir() or not is_repo_id(source):
        return path.resolve().name
    return source
