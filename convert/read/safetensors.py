"""Safetensors files, opened lazily."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import read_header

from .tensor import Stored, itemsize

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
    header, base = read_header(path)
    try:
        return {name: _tensor(path, name, entry, base) for name, entry in header.items()}
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}): download it again.") from None


def _tensor(path: Path, name: str, entry: Mapping[str, Any], base: int) -> Stored:
    """One entry of the header; dtypes that no model here has are an error."""
    shown = name[:100]
    dtype = _NAMES.get(str(entry["dtype"]))
    if dtype is None:
        raise ValueError(f"{shown} has the unsupported type {str(entry['dtype'])[:20]}")
    begin, end = entry["data_offsets"]
    if end - begin != prod(entry["shape"]) * itemsize(dtype) or end == begin:
        raise ValueError(f"{shown} does not have the size of its shape")
    return Stored(name, path, dtype, tuple(entry["shape"]), base + begin)
