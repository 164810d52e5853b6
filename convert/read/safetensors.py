"""Safetensors files: opened lazily, and written piece by piece at places known beforehand."""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any

from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import open_regular, unique_names

from .tensor import Stored, itemsize

MAX_HEADER = 100 << 20
_NAMES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "U8": "uint8",
    "I64": "int64",
    "I32": "int32",
}
CODES = {name: code for code, name in _NAMES.items()}


def open_safetensors(path: Path) -> dict[str, Stored]:
    """Name -> place of the tensors of a safetensors file.

    Raises:
        CheckpointError: the file is truncated or its header is damaged.
    """
    try:
        with open_regular(path, CheckpointError) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ValueError("truncated or no safetensors file")
            header = json.loads(file.read(length).decode(), object_pairs_hook=unique_names)
        return {
            name: _tensor(path, name, entry, 8 + length, size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from None
    except (ValueError, AttributeError, RecursionError) as error:
        reason = str(error)[:200]
        raise CheckpointError(f"{path} is damaged ({reason}): download it again.") from None


def _tensor(path: Path, name: str, entry: Any, base: int, size: int) -> Stored:
    """Check one entry of the header; dtypes that no model here has are an error."""
    shown = name[:100]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {shown}")
    dtype = _NAMES.get(str(entry["dtype"]))
    if dtype is None:
        raise ValueError(f"{shown} has the unsupported type {str(entry['dtype'])[:20]}")
    for values in (entry["shape"], entry["data_offsets"]):
        if not isinstance(values, list) or not all(type(v) is int and v >= 0 for v in values):
            raise ValueError(f"the shape or place of {shown}")
    if len(entry["shape"]) > 8 or len(entry["data_offsets"]) != 2:
        raise ValueError(f"the shape or place of {shown}")
    begin, end = entry["data_offsets"]
    if end - begin != prod(entry["shape"]) * itemsize(dtype) or end == begin:
        raise ValueError(f"{shown} does not have the size of its shape")
    if base + end > size:
        raise ValueError("it is truncated")
    return Stored(name, path, dtype, tuple(entry["shape"]), base + begin)
