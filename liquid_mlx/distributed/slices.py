"""Parts of tensors, read from a safetensors file without the rest of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import read_header

# safetensors' names; numpy has no bfloat16, so that its bits pass through as whole numbers
_DTYPES: dict[str, tuple[type[Any], mx.Dtype]] = {
    "F32": (np.float32, mx.float32),
    "F16": (np.float16, mx.float16),
    "BF16": (np.uint16, mx.bfloat16),
    "U32": (np.uint32, mx.uint32),
    "U8": (np.uint8, mx.uint8),
}


class TensorFiles:
    """The tensors of a folder's files, of which parts are read; ``bytes_read`` counts.

    Raises:
        CheckpointError: a file is missing, or its header is damaged.
    """

    def __init__(self, paths: list[Path]):
        self.bytes_read = 0
        self._places: dict[str, tuple[Path, int, str, tuple[int, ...]]] = {}
        for path in paths:
            header, data = read_header(path)
            for name, entry in header.items():
                begin = data + entry["data_offsets"][0]
                self._places[name] = (path, begin, entry["dtype"], tuple(entry["shape"]))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor, whole."""
        return {name: place[3] for name, place in self._places.items()}

    def read(self, name: str, axis: int = 0, start: int = 0, stop: int | None = None) -> mx.array:
        """Places ``start`` to ``stop`` along axis 0 or, of a matrix, 1; evaluated.

        Raises:
            CheckpointError: the tensor's dtype is unknown, or the file ends within it.
        """
        path, begin, kind, shape = self._places[name]
        if kind not in _DTYPES:
            raise CheckpointError(f"{name} in {path} is {kind}: convert the model again.")
        dtype, stored = _DTYPES[kind]
        size = np.dtype(dtype).itemsize
        stop = shape[axis] if stop is None else stop
        found = np.empty([*shape[:axis], stop - start, *shape[axis + 1 :]], dtype)
        rows = found.reshape(-1).view(np.uint8).data
        if axis == 0:
            pieces = [(start * (found[0].nbytes if len(found) else 0), rows)]
        else:
            width = (stop - start) * size
            pieces = [
                ((row * shape[1] + start) * size, rows[row * width : (row + 1) * width])
                for row in range(shape[0])
            ]
        with path.open("rb", buffering=0) as file:
            for offset, piece in pieces:
                _fill(file.fileno(), begin + offset, piece, path)
        self.bytes_read += found.nbytes
        array = mx.array(found)
        array = array.view(stored) if array.dtype != stored else array
        mx.eval(array)
        return array


def _fill(file: int, offset: int, piece: memoryview, path: Path) -> None:
    """Read ``piece`` from a place in a file."""
    while piece:
        count = os.preadv(file, [piece], offset)
        if not count:
            raise CheckpointError(f"{path} is damaged (it is truncated): download it again.")
        piece, offset = piece[count:], offset + count
