"""The models of a server: loaded when first asked for, dropped when not asked for long enough."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import LiquidError, UsageError
from liquid_mlx.files import user_path
from liquid_mlx.hub import DEMO, is_repo_id, resolve
from liquid_mlx.memory import weight_bytes
from liquid_mlx.model import Liquid, load
from liquid_mlx.server.batch import Batch
from liquid_mlx.server.errors import APIError

log = logging.getLogger("liquid_mlx.server")
SEEN = 32  # pictures whose codes are kept: a chat sends them again with every turn


@dataclass(eq=False)
class Loaded:
    """A model in memory, and what it works on. Only the thread of the models touches it."""

    name: str
    liquid: Liquid
    batch: Batch
    used: float = field(default_factory=time.monotonic)
    jobs: int = 0
    _codes: OrderedDict[tuple[bytes, bool], np.ndarray] = field(default_factory=OrderedDict)

    def codes(self, picture: bytes, drawn: bool) -> np.ndarray:
        """Codes int32 [rows, columns] of a picture's file.

        Args:
            drawn: it is one of a model's pictures, which may have its codes inside.
        """
        key = hashlib.sha256(picture).digest(), drawn
        if key not in self._codes:
            encode = self.liquid.codes if drawn else self.liquid.encode
            self._codes[key] = encode(picture)
        self._codes.move_to_end(key)
        while len(self._codes) > SEEN:
            self._codes.popitem(last=False)
        return self._codes[key]


class Models:
    """The models that a server has, by the names under which requests ask for them.

    Args:
        sources: folders, repo ids or "demo"; the first is for requests that name none.
        adapters: ``NAME=ADAPTER``: the first model with this adapter, served as NAME.
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
                source, adapters = self._sources[name]
                liquid = load(source, dtype=self._dtype, adapter=adapters)
                liquid.name = name  # what pictures say of their model; a path tells too much
                liquid.adapters = ()
                used = weight_bytes(liquid.engine.backbone, liquid.engine.backbone.dtype)
                used += weight_bytes(liquid.vqgan, mx.float32)
                self.loaded[name] = Loaded(name, liquid, Batch(liquid.engine, liquid.config, used))
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

    def drop_idle(self) -> float | None:
        """Drop what nobody has used; in how many seconds the next one is due (None: never)."""
        if self._keep_alive is None:
            return None
        due = []
        for name, one in list(self.loaded.items()):
            left = one.used + self._keep_alive - time.monotonic()
            if one.jobs:
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
