"""Safetensors files as they are read and written here, against MLX's own reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.convert.planning.tensor import Spec
from liquid_mlx.convert.read.safetensors import open_safetensors
from liquid_mlx.convert.read.tensor import to_bytes
from liquid_mlx.convert.write.safetensors import SafetensorsWriter
from liquid_mlx.errors import CheckpointError

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def write(path: Path, header: Any, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_written_in_pieces_opens_in_mlx(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "model.safetensors"
    arrays = {}
    for index in range(data.draw(st.integers(1, 4))):
        shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        dtype = data.draw(st.sampled_from(["float32", "float16", "bfloat16", "uint32", "uint8"]))
        noise = mx.random.uniform(0, 99, shape, key=mx.random.key(index))
        arrays[f"t{index}"] = (dtype, noise.astype(getattr(mx, dtype)))
    specs = [Spec(n, d, a.shape) for n, (d, a) in arrays.items()]
    with SafetensorsWriter(path, specs, {"format": "mlx"}) as writer:
        for row in range(5):  # the rows of all tensors in turn
            for name, (_, array) in arrays.items():
                if row < array.shape[0]:
                    writer.append(name, to_bytes(array[row : row + 1]))
    loaded = mx.load(str(path))
    assert loaded.keys() == arrays.keys()
    for name, (dtype, array) in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert mx.array_equal(loaded[name], array)
        stored = open_safetensors(path)[name]
        assert (stored.dtype, stored.shape) == (dtype, array.shape)
        assert mx.array_equal(stored.rows(0, array.shape[0]), array)


def test_reads_what_mlx_writes(tmp_path: Path) -> None:
    arrays = {n: mx.random.normal((3, 5)).astype(dtype) for n, dtype in DTYPES.items()}
    mx.save_safetensors(str(tmp_path / "x.safetensors"), arrays)
    for name, stored in open_safetensors(tmp_path / "x.safetensors").items():
        assert mx.array_equal(stored.rows(1, 3), arrays[name][1:3])


def test_an_unfinished_file_is_noticed(tmp_path: Path) -> None:
    spec = Spec("a", "float32", (2, 2))
    with (
        pytest.raises(AssertionError, match="a"),
        SafetensorsWriter(tmp_path / "x", [spec], {}) as writer,
    ):
        writer.append("a", to_bytes(mx.zeros((1, 2))))


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "not JSON": b"{",
    "not text": b"\xff\xfe",
    "no object": [1],
    "deep": b"[" * 100_000,
    "a name twice": b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}',
    "no entry": {"a": 5},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
    "more than an entry": {"a": {**ENTRY, "x": 1}},
    "unknown type": {"a": {**ENTRY, "dtype": "F8_E4M3"}},
    "type is a list": {"a": {**ENTRY, "dtype": ["F32"]}},
    "shape of text": {"a": {**ENTRY, "shape": "2"}},
    "shape of floats": {"a": {**ENTRY, "shape": [2.0]}},
    "negative shape": {"a": {**ENTRY, "shape": [-2]}},
    "true shape": {"a": {**ENTRY, "shape": [True]}},
    "huge shape": {"a": {**ENTRY, "shape": [2**62, 2**62]}},
    "many axes": {"a": {**ENTRY, "shape": [1] * 9 + [2]}},
    "other size": {"a": {**ENTRY, "shape": [3]}},
    "backwards": {"a": {**ENTRY, "data_offsets": [8, 0]}},
    "three offsets": {"a": {**ENTRY, "data_offsets": [0, 8, 9]}},
    "beyond the end": {"a": {**ENTRY, "data_offsets": [8, 16]}},
    "huge integers": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
}


@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN.keys())
def test_broken_headers_are_refused(tmp_path: Path, header: Any) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        open_safetensors(write(tmp_path / "x", header, bytes(8)))


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 8, b"\xff" * 4 + b"\x00" * 4 + b"{}"])
def test_absurd_lengths_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CheckpointError, match="truncated"):
        open_safetensors(tmp_path / "x")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_noticed(tmp_path: Path, dtype: str, bad: float) -> None:
    array = mx.array(np.array([[0, 65504, -65504, 1], [1, 1, 1, bad]], np.float32))
    mx.save_safetensors(str(tmp_path / "x.safetensors"), {"a": array.astype(DTYPES[dtype])})
    stored = open_safetensors(tmp_path / "x.safetensors")["a"]
    stored.rows(0, 1)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        stored.rows(0, 2)


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((4, 4))})
    stored = open_safetensors(path)["a"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated"):
        stored.rows(0, 4)


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=4))
def test_tensors_that_share_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "places.safetensors"
    header = {
        str(i): {"dtype": "U8", "shape": [size], "data_offsets": [begin, begin + size]}
        for i, (begin, size) in enumerate(places)
    }
    write(path, header, bytes(18))
    taken = [at for begin, size in places for at in range(begin, begin + size)]
    if len(taken) == len(set(taken)):
        assert open_safetensors(path).keys() == header.keys()
    else:
        with pytest.raises(CheckpointError, match="shares bytes"):
            open_safetensors(path)
