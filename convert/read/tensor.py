"""Tensors that still lie in a file: read a block of rows at a time, never whole unless asked."""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from liquid_mlx.errors import CheckpointError

# bfloat16 has no NumPy type: its bits travel as uint16.
NUMPY: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,
    "uint32": np.uint32,
    "uint8": np.uint8,
    "int64": np.int64,
    "int32": np.int32,
}
MLX = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
FLOATS = ("float32", "float16", "bfloat16")


def itemsize(dtype: str) -> int:
    """Bytes of one element."""
    return int(np.dtype(NUMPY[dtype]).itemsize)


class Rows(Protocol):
    """A matrix (or vector, or convolution) that can be read by rows of its first axis."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def nbytes(self) -> int:
        """Bytes in its files."""
        ...

    @property
    def files(self) -> frozenset[Path]:
        """The files that it lies in."""
        ...

    def check(self) -> None:
        """Raise CheckpointError if a checksum says that it is damaged."""
        ...

    def rows(self, start: int, stop: int) -> mx.array:
        """Rows ``start`` to ``stop`` as an array of ``dtype``."""
        ...


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: bytes from ``offset`` of a file on, ``strides`` counted in elements.

    ``storage`` is the byte range that the file gives to the tensor's storage, with its CRC-32
    where the file records one.
    """

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...] | None = None
    storage: tuple[int, int, int] | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * itemsize(self.dtype)

    @property
    def files(self) -> frozenset[Path]:
        return frozenset([self.path])

    def check(self) -> None:
        """Compare the whole storage with its recorded CRC-32, once per file.

        Raises:
            CheckpointError: it differs, so the file is damaged.
        """
        if self.storage:
            begin, size, crc = self.storage
            if _checksum(self.path, begin, size, self.path.stat().st_mtime_ns) != crc:
                raise CheckpointError(
                    f"{self.path} is damaged (the checksum of {self.name[:100]} differs): "
                    "download it again."
                )

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows as a NumPy array; bfloat16 comes as its bits in uint16."""
        dtype = np.dtype(NUMPY[self.dtype])
        if self.strides is not None:
            return self._strided(dtype, start, stop)
        width = prod(self.shape[1:])
        first, last, _ = slice(start, stop).indices(self.shape[0] if self.shape else 1)
        count = (last - first) * width
        offset = self.offset + first * width * dtype.itemsize
        try:
            # Not a memory map: its pages would count as ours, and truncation would be SIGBUS.
            with self.path.open("rb", buffering=0) as file:
                file.seek(offset)
                flat = np.fromfile(file, dtype, count)
                _forget(file.fileno(), offset, flat.nbytes)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read ({error}).") from None
        if flat.size != count:
            raise CheckpointError(f"{self.path} is truncated: download it again.")
        return flat.reshape(last - first, *self.shape[1:]) if self.shape else flat.reshape(())

    def _strided(self, dtype: np.dtype, start: int, stop: int | None) -> np.ndarray:
        strides = self.strides or ()
        reach = 1 + sum((n - 1) * s for n, s in zip(self.shape, strides, strict=True))
        try:
            flat = np.memmap(self.path, dtype, "r", self.offset, (reach,))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} cannot be read ({error}).") from None
        steps = [s * dtype.itemsize for s in strides]
        return np.array(np.lib.stride_tricks.as_strided(flat, self.shape, steps)[start:stop])

    def rows(self, start: int, stop: int) -> mx.array:
        array = self.read(start, stop)
        if not finite(array, self.dtype):
            raise CheckpointError(
                f"{self.name[:100]} in {self.path} holds NaN or infinity: the file is damaged, or "
                "its training diverged."
            )
        return to_mlx(array, self.dtype)


# The bits of infinity: NaN is above, everything else below, once the sign is taken off.
_INFINITY = {"float32": 0x7F800000, "float16": 0x7C00, "bfloat16": 0x7F80}


def finite(values: np.ndarray | memoryview, dtype: str) -> bool:
    """Whether all are finite. On the bits: several times faster than ``isfinite``."""
    if dtype not in _INFINITY or not len(values):
        return True
    if dtype == "float32":
        largest = (np.frombuffer(values, np.uint32) & np.uint32(0x7FFFFFFF)).max()
    else:
        largest = (np.frombuffer(values, np.uint16) & np.uint16(0x7FFF)).max()
    return bool(largest < _INFINITY[dtype])


def _forget(fd: int, offset: int, size: int) -> None:
    """Let Linux reuse the memory of what was read, instead of pushing out what others need."""
    if sys.platform == "linux":
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)


def to_mlx(array: np.ndarray, dtype: str) -> mx.array:
    """A NumPy array as an MLX array of ``dtype``; bfloat16 is given as its bits."""
    return mx.array(array).view(mx.bfloat16) if dtype == "bfloat16" else mx.array(array)


def to_bytes(array: mx.array) -> memoryview:
    """The bytes of an evaluated array, in C order."""
    if array.dtype == mx.bfloat16:
        array = array.view(mx.uint16)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@lru_cache
def _checksum(path: Path, begin: int, size: int, _changed: int, chunk: int = 1 << 24) -> int:
    found = 0
    with path.open("rb") as file:
        file.seek(begin)
        for at in range(0, size, chunk):
            found = zlib.crc32(file.read(min(chunk, size - at)), found)
    return found


@dataclass(frozen=True)
class Declared:
    """A tensor that is only known by its shape: enough to plan with."""

    shape: tuple[int, ...]
    dtype: str
    files: frozenset[Path] = frozenset()

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * itemsize(self.dtype)

    def check(self) -> None:
        raise AssertionError("a declared tensor has no bytes")

    def rows(self, start: int, stop: int) -> mx.array:
        raise AssertionError("a declared tensor has no bytes")
