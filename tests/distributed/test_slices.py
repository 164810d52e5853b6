"""Parts of tensors are those of the whole tensor, and no more than they is read."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from liquid_mlx.distributed.slices import TensorFiles
from liquid_mlx.errors import CheckpointError

DTYPES = (mx.float32, mx.float16, mx.bfloat16, mx.uint32, mx.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A matrix of every dtype, and a vector."""
    values = mx.random.uniform(0, 100, (6, 10), key=mx.random.key(1))
    tensors = {str(dtype): values.astype(dtype) for dtype in DTYPES}
    path = tmp_path / "some.safetensors"
    mx.save_safetensors(str(path), {**tensors, "vector": mx.arange(7, dtype=mx.float32)})
    return path


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_columns_and_the_whole(file: Path, dtype: mx.Dtype) -> None:
    whole = mx.load(str(file))[str(dtype)]
    files = TensorFiles([file])
    for part, expected in (
        (files.read(str(dtype)), whole),
        (files.read(str(dtype), 0, 2, 5), whole[2:5]),
        (files.read(str(dtype), 1, 3, 10), whole[:, 3:10]),
    ):
        assert part.dtype == dtype
        assert mx.array_equal(part, expected)
    assert files.bytes_read == (60 + 30 + 42) * dtype.size


def test_a_vector_and_its_part(file: Path) -> None:
    files = TensorFiles([file])
    assert files.read("vector").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert files.read("vector", 0, 2, 4).tolist() == [2, 3]
    assert files.shapes["vector"] == (7,)


def test_a_file_that_becomes_shorter_is_told(file: Path) -> None:
    files = TensorFiles([file])
    file.write_bytes(file.read_bytes()[:-20])
    last = max(files.shapes, key=lambda name: files._places[name][1])
    with pytest.raises(CheckpointError, match="truncated"):
        files.read(last)


def test_a_dtype_of_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    mx.save_safetensors(str(path), {"x": mx.zeros((2, 2), mx.int64)})
    with pytest.raises(CheckpointError, match=r"x in .* is I64"):
        TensorFiles([path]).read("x")
