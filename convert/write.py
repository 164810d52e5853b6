"""Carry a plan out: every part streamed into its place, the folder whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx.convert.ahead import ahead
from liquid_mlx.convert.parts import Part
from liquid_mlx.convert.planning import Plan
from liquid_mlx.convert.safetensors import SafetensorsWriter
from liquid_mlx.convert.stored import to_bytes
from liquid_mlx.errors import CheckpointError

SPARE_BYTES = 64 << 20
CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: the part in hand, source bytes read of all, seconds so far."""

    part: str
    done: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None before the first block."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


Report = Callable[[Progress], None]


def check_target(target: Path, needed: int = 0) -> None:
    """Make sure that ``target`` can be made, and that ``needed`` bytes fit.

    Raises:
        CheckpointError: it exists, its folder does not or cannot be written, or has no room.
    """
    if target.exists() or target.is_symlink():
        raise CheckpointError(f"{target} exists already: delete it or choose another --mlx-path.")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise CheckpointError(f"There is no folder {parent} to make {target.name} in.")
    if not os.access(parent, os.W_OK):
        raise CheckpointError(f"{parent} cannot be written: choose another --mlx-path.")
    free = shutil.disk_usage(parent).free
    if free < needed + SPARE_BYTES:
        raise CheckpointError(
            f"The converted model needs {needed / 1e9:.1f} GB, but {parent} has "
            f"{free / 1e9:.1f} GB left: free some, or choose another --mlx-path."
        )


def stamps(plan: Plan) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file that a plan reads."""
    files = {path for part in (*plan.parts, *plan.vqgan_parts) for path in part.source.files}
    return {path: _stamp(path) for path in files | set(plan.copied)}


def check_unchanged(before: Mapping[Path, tuple[int, int]]) -> None:
    """Raise CheckpointError if a file has changed since ``stamps``."""
    for path, stamp in before.items():
        if _stamp(path) != stamp:
            raise CheckpointError(f"{path} was changed during the conversion: start again.")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``target`` if all goes well, and else disappears.

    It is a hidden neighbour of ``target``. One that a killed run has left is emptied first; one
    that a living run fills (and has locked) is an error.
    """
    partial = target.absolute().parent / f".{target.name}.partial"
    try:
        lock = _locked(partial, target)
        try:
            for path in partial.iterdir():
                path.unlink()
            yield partial
            if target.exists():
                raise CheckpointError(f"{target} has appeared meanwhile: choose another.")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        raise CheckpointError(f"{target} cannot be written ({error.strerror or error}).") from None


def _locked(partial: Path, target: Path) -> int:
    """Make the folder if it is not there, and lock it for as long as this process lives."""
    partial.mkdir(exist_ok=True)
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(partial).st_ino != os.fstat(lock).st_ino:
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        raise CheckpointError(f"Another conversion is writing {target}: wait for it.") from None
    return lock


def write_folder(plan: Plan, folder: Path, report: Report | None = None) -> None:
    """Write the converted model into an empty folder, reading each source once."""
    clock = _Clock(plan.source_bytes, report)
    with _small_cache():
        shards = plan.shards
        count = len(shards)
        names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        names = ["model.safetensors"] if count == 1 else names
        # The smaller file first: if it is damaged, that shows at once.
        _write_shard(folder / "vqgan.safetensors", plan.vqgan_parts, clock)
        for name, parts in zip(names, shards, strict=True):
            _write_shard(folder / name, parts, clock)
    _write_index(plan, folder, dict(zip(names, shards, strict=True)))
    for path in plan.copied:
        shutil.copyfile(path, folder / path.name)
    _write_json(folder / "config.json", plan.config_json)


def _write_shard(path: Path, parts: Sequence[Part], clock: _Clock) -> None:
    specs = [spec for part in parts for spec in part.specs]
    with SafetensorsWriter(path, specs, {"format": "mlx"}) as writer:
        for part in parts:
            for read, arrays in ahead(part.blocks()):
                for spec, array in zip(part.specs, arrays, strict=True):
                    writer.append(spec.name, to_bytes(array))
                clock.tick(part.path, read)


@contextmanager
def _small_cache() -> Iterator[None]:
    """MLX keeps freed buffers for reuse; a converter needs only a few small ones."""
    before = mx.set_cache_limit(CACHE_BYTES)
    try:
        yield
    finally:
        mx.set_cache_limit(before)
        mx.clear_cache()


class _Clock:
    def __init__(self, total: int, report: Report | None):
        self._total, self._report = total, report
        self._done, self._start = 0, time.monotonic()

    def tick(self, part: str, read: int) -> None:
        self._done += read
        if self._report:
            self._report(Progress(part, self._done, self._total, time.monotonic() - self._start))


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
