"""Safetensors files, written piece by piece at places known beforehand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..planning.tensor import Spec
from ..read.safetensors import CODES
from ..read.tensor import itemsize


class SafetensorsWriter:
    """A file of known tensors whose bytes arrive in any order."""

    def __init__(self, path: Path, specs: Iterable[Spec], metadata: Mapping[str, str]):
        # Wide elements first, so that every tensor is aligned.
        ordered = sorted(specs, key=lambda spec: -itemsize(spec.dtype))
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        at = 0
        for spec in ordered:
            header[spec.name] = {
                "dtype": CODES[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [at, at + spec.nbytes],
            }
            at += spec.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._base = 8 + len(text)
        self._begins = {spec.name: header[spec.name]["data_offsets"][0] for spec in ordered}
        self._left = {spec.name: spec.nbytes for spec in ordered}
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._write(len(text).to_bytes(8, "little") + text, 0)
        os.ftruncate(self._fd, self._base + at)

    def append(self, name: str, data: memoryview) -> None:
        """Write the next bytes of a tensor."""
        begin = self._begins[name]
        self._write(data, self._base + begin)
        self._begins[name] = begin + len(data)
        self._left[name] -= len(data)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        data = memoryview(data)
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self._fd)
        unfinished = [name for name, left in self._left.items() if left]
        if unfinished and kind is None:
            raise AssertionError(f"not wholly written: {unfinished}")
