"""Carry a plan out: every part is streamed from its source into its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from liquid_mlx.errors import CheckpointError

from ..planning.plan import Plan
from ..planning.tensor import Part, Spec
from ..progress import Clock
from ..read.blocks import ahead
from ..read.tensor import Stored, finite, to_bytes
from ..streamed_forward import streamed_logits
from .safetensors import SafetensorsWriter

CACHE_BYTES = 64 << 20


def write_folder(plan: Plan, folder: Path, clock: Clock, compare: bool) -> np.ndarray | None:
    """Write the converted model into an empty folder, reading each source once.

    With ``compare`` the source is run on the way, as every matrix is in memory once: its logits
    [T, vocabulary] for ``verify``.
    """
    with _Writing(plan, folder, clock) as writing:
        for part in plan.vqgan_parts:  # small: if it is damaged, that shows at once
            writing.write(part)
        logits = writing.run() if compare else None
        for part in plan.parts:
            writing.write(part)
    _write_index(plan, folder, writing.names)
    for path in plan.copied:
        shutil.copyfile(path, folder / path.name)
    _write_json(folder / "config.json", plan.config_json)
    return logits


class _Writing:
    """The open files of a folder, and which parts are in them."""

    def __init__(self, plan: Plan, folder: Path, clock: Clock):
        self._plan, self._folder, self._clock = plan, folder, clock
        self._written: set[str] = set()
        self._writers: dict[str, SafetensorsWriter] = {}
        count = len(plan.shards)
        names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        self.names = dict(
            zip(["model.safetensors"] if count == 1 else names, plan.shards, strict=True)
        )
        self._files = {"vqgan.safetensors": plan.vqgan_parts, **self.names}
        self._open = ExitStack()

    def __enter__(self) -> _Writing:
        with ExitStack() as opened:
            opened.enter_context(_small_cache())
            for name, parts in self._files.items():
                specs = [spec for part in parts for spec in part.specs]
                writer = SafetensorsWriter(self._folder / name, specs, {"format": "mlx"})
                opened.enter_context(writer)
                self._writers |= dict.fromkeys((part.name for part in parts), writer)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def run(self) -> np.ndarray:
        """Write the matrices in the order of their use; the source's logits [T, vocabulary]."""
        parts = {part.name: part for part in self._plan.parts}
        sources = {name: part.source for name, part in parts.items()}
        return streamed_logits(
            self._plan.config, sources, lambda name, x: self._stream(parts[name], x)
        )

    def write(self, part: Part) -> None:
        """Write a part, unless it is written already."""
        if part.name not in self._written:
            for _ in self._stream(part):
                pass

    def _stream(self, part: Part, x: mx.array | None = None) -> Iterator[mx.array]:
        """Write a part; after each block yield the product with x, if there is an x."""
        self._written.add(part.name)
        writer, specs = self._writers[part.name], part.specs
        for read, arrays in ahead(part.blocks(x)):
            for spec, array in zip(specs, arrays, strict=False):
                data = to_bytes(array)
                if _may_overflow(part, spec) and not finite(data, spec.dtype):
                    raise CheckpointError(
                        f"{part.name} has values beyond the range of {part.dtype}: convert with "
                        "--dtype float32 (or --vqgan-dtype float32)."
                    )
                writer.append(spec.name, data)
            self._clock.tick(part.path, read)
            yield from arrays[len(specs) :]


def _may_overflow(part: Part, spec: Spec) -> bool:
    """Whether finite values of the source can become infinite: not where they are only copied."""
    copied = isinstance(part.source, Stored) and part.source.dtype == spec.dtype
    return not copied or part.quantization is not None


@contextmanager
def _small_cache() -> Iterator[None]:
    """MLX keeps freed buffers for reuse; a converter needs only a few small ones."""
    before = mx.set_cache_limit(CACHE_BYTES)
    try:
        yield
    finally:
        mx.set_cache_limit(before)
        mx.clear_cache()


def _write_index(plan: Plan, folder: Path, shards: Mapping[str, Sequence[Part]]) -> None:
    weight_map = {
        spec.name: name for name, parts in shards.items() for part in parts for spec in part.specs
    }
    size = sum(part.nbytes for part in plan.parts)
    _write_json(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": size, "total_parameters": plan.parameters},
            "weight_map": dict(sorted(weight_map.items())),
        },
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
