"""Files of ``torch.save``, without torch: zip archives and the older format, opened lazily."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import open_regular

from . import torch_pickle as pickles
from .tensor import NUMPY, Stored, itemsize

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

# Where a storage's bytes lie: (offset, size, CRC-32 or None).
_Place = tuple[int, int, "int | None"]


def open_torch(path: Path) -> dict[str, Stored]:
    """Name -> place of the tensors of a ``.bin``, ``.pt`` or ``.ckpt`` file.

    The tensors are those of ``["state_dict"]`` where there is one, else of the top level. Entries
    that are no tensors, and tensors of dtypes that no model here has, are left out. Nothing that
    the file names is imported or run.

    Raises:
        CheckpointError: the file is damaged, or names something outside the allow-list.
    """
    with open_regular(path, CheckpointError) as file:
        try:
            value, places = _read(file)
            return _tensors(path, value, places)
        except CheckpointError as error:
            raise CheckpointError(f"{path} {error}") from None
        except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
            reason = str(error)[:200]
            raise CheckpointError(
                f"{path} is not a valid torch.save file ({reason}): download it again."
            ) from None
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error}).") from None


def _read(file: io.BufferedReader) -> tuple[Any, dict[str, _Place]]:
    if file.read(4) == b"PK\x03\x04":
        return _zip(file)
    file.seek(0)
    return _legacy(file)


def _zip(file: io.BufferedReader) -> tuple[Any, dict[str, _Place]]:
    """The zip form: ``NAME/data.pkl`` and ``NAME/data/KEY``, uncompressed."""
    entries = zipfile.ZipFile(file).infolist()
    end = file.seek(0, io.SEEK_END)
    places = {entry.filename.partition("/")[2]: _entry(file, entry, end) for entry in entries}
    if "byteorder" in places and _bytes(file, places["byteorder"]) != b"little":
        raise ValueError("it was written on a big-endian machine")
    if "data.pkl" not in places:
        raise ValueError("it has no data.pkl")
    value = pickles.load(io.BytesIO(_bytes(file, places["data.pkl"])))
    storages = {n[5:]: place for n, place in places.items() if n.startswith("data/")}
    return value, storages


def _entry(file: io.BufferedReader, entry: zipfile.ZipInfo, end: int) -> _Place:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError("its entries are compressed")
    file.seek(entry.header_offset + 26)
    name_size, extra_size = struct.unpack("<HH", file.read(4))
    offset = entry.header_offset + 30 + name_size + extra_size
    if offset + entry.file_size > end:
        raise ValueError("it is truncated")
    # torch.serialization.set_crc32_options(False) leaves checksums 0.
    return offset, entry.file_size, entry.CRC or None


def _bytes(file: io.BufferedReader, place: _Place) -> bytes:
    offset, size, crc = place
    if size > pickles.MAX_BYTES:
        raise ValueError("its pickle is larger than any checkpoint's")
    file.seek(offset)
    data = file.read(size)
    if crc is not None and zlib.crc32(data) != crc:
        raise ValueError("a checksum differs")
    return data


def _legacy(file: io.BufferedReader) -> tuple[Any, dict[str, _Place]]:
    """The older form: five pickles, then each storage behind its number of elements."""
    head = io.BytesIO(file.read(pickles.MAX_BYTES))
    if pickles.load(head) != LEGACY_MAGIC:
        raise ValueError("it does not begin like one")
    pickles.load(head)  # the protocol's version
    system = pickles.load(head)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    machine = pickles.Machine()
    value = machine.load(head)
    keys = pickles.load(head)
    if not isinstance(keys, list):
        raise ValueError("it has no list of storages")
    end = file.seek(0, io.SEEK_END)
    at = head.tell()
    places: dict[str, _Place] = {}
    for key in keys:
        storage = machine.storages.get(str(key))
        if storage is None:
            raise ValueError("a storage that no tensor has")
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        size = count * pickles.ITEM_SIZES[storage.dtype]
        if count != storage.count or at + 8 + size > end:
            raise ValueError("it is truncated")
        places[storage.key] = (at + 8, size, None)
        at += 8 + size
    return value, places


def _tensors(path: Path, value: Any, places: Mapping[str, _Place]) -> dict[str, Stored]:
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary of tensors")
    return {
        name: _place(path, name, tensor, places)
        for name, tensor in value.items()
        if isinstance(name, str)
        and isinstance(tensor, pickles.Tensor)
        and tensor.storage.dtype in NUMPY
        and 0 not in tensor.shape
    }


def _place(path: Path, name: str, tensor: pickles.Tensor, places: Mapping[str, _Place]) -> Stored:
    dtype, shape, strides = tensor.storage.dtype, tensor.shape, tensor.strides
    if tensor.storage.key not in places:
        raise ValueError(f"the bytes of {name[:100]} are missing")
    begin, size, crc = places[tensor.storage.key]
    reach = tensor.offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if reach * itemsize(dtype) > size:
        raise ValueError(f"{name[:100]} reaches beyond its storage")
    contiguous = all(
        s == prod(shape[axis + 1 :]) or shape[axis] == 1 for axis, s in enumerate(strides)
    )
    return Stored(
        name,
        path,
        dtype,
        shape,
        begin + tensor.offset * itemsize(dtype),
        None if contiguous else strides,
        None if crc is None else (begin, size, crc),
    )
