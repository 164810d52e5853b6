"""Files that torch has written, and hostile ones that nothing of may run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.convert.api import peak_memory
from liquid_mlx.convert.read import torch_pickle as pickles
from liquid_mlx.convert.read.tensor import Stored
from liquid_mlx.convert.read.torch_file import LEGACY_MAGIC, open_torch
from liquid_mlx.errors import CheckpointError

DATA = Path(__file__).parents[2] / "data"
FILES = DATA / "torch_files"


def floats(tensor: Stored) -> np.ndarray:
    array = tensor.read()
    if tensor.dtype == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


@pytest.mark.parametrize("name", ["zip.ckpt", "legacy.ckpt", "bare.bin", "without_crc.ckpt"])
def test_reads_what_torch_wrote(name: str) -> None:
    tensors = open_torch(FILES / name)
    expected = np.load(FILES / "expected.npz")
    assert set(expected) - set(tensors) == {"double", "flags", "empty"}  # dtypes no model has
    for key, tensor in tensors.items():
        tensor.check()
        np.testing.assert_array_equal(floats(tensor).reshape(tensor.shape), expected[key], key)


def test_reads_rows_of_views() -> None:
    tensors, expected = open_torch(FILES / "zip.ckpt"), np.load(FILES / "expected.npz")
    for name in ("transposed", "rows", "columns", "first_half", "second_half", "expanded"):
        np.testing.assert_array_equal(tensors[name].read(1, 3), expected[name][1:3], name)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_strides_and_offsets_mean_what_numpy_means(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    strides = tuple(data.draw(st.integers(0, 5)) for _ in shape)
    offset = data.draw(st.integers(0, 7))
    storage = np.arange(64, dtype=np.float32)
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"strides-{os.getpid()}.bin"
    storage.tofile(path)
    try:
        found = Stored("x", path, "float32", shape, offset * 4, strides).read()
    finally:
        path.unlink()
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, [4 * s for s in strides])
    np.testing.assert_array_equal(found, view)


@pytest.mark.parametrize("vq", ["vq_f16", "vq_attn"])
def test_a_training_checkpoint_has_its_tensors(vq: str) -> None:
    listed = json.loads((DATA / "golden" / vq / "tensors.json").read_text())["state_dict"]
    found = open_torch(DATA / "golden" / vq / "chameleon" / "vqgan.ckpt")
    assert {n: [list(t.shape), t.dtype] for n, t in found.items()} == listed


def zipped(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/data/0", bytes(64))
    return path


class Bomb:
    """Unpickled the usual way, this makes a folder."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("where", ["top", "inside", "key"])
def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, protocol: int, where: str) -> None:
    bomb = Bomb(tmp_path / "proof")
    value = {"top": bomb, "inside": {"state_dict": {"w": bomb}}, "key": {bomb: 1}}[where]
    path = zipped(tmp_path / "bad.ckpt", pickle.dumps(value, protocol))
    with pytest.raises(CheckpointError, match=r"posix\.mkdir|operation"):
        open_torch(path)
    assert not (tmp_path / "proof").exists()


HOSTILE = {
    "eval": b"cbuiltins\neval\n(S'1/0'\ntR.",
    "getattr chain": b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.",
    "allowed module, other name": b"ctorch\nload\n(S'x'\ntR.",
    "dotted name": b"\x80\x04\x8c\x05torch\x8c\x0aSize.__new_\x93.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "call a storage": b"ctorch\nFloatStorage\n)R.",
    "call a string": b"S'x'\n)R.",
    "persistent id text": b"Pstorage\n.",
    "persistent id of nothing": b"NQ.",
    "setstate on a list": b"]}b.",
    "memo far away": b"]r\xff\xff\xff\xff0j\xff\xff\xff\xff.",
    "missing memo": b"j\x01\x00\x00\x00.",
    "endless bytes": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "endless text": b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "endless integer": b"\x8b" + struct.pack("<I", 2**31 - 1) + b"x.",
    "bytearray": b"\x96" + struct.pack("<Q", 2**62) + b"x.",
    "nothing": b"",
    "no stop": b"N",
    "empty stack": b".",
    "empty pop": b"0.",
    "tuple key": b"}((tNs.",
    "lone mark": b"(.",
    "odd items": b"}(Nu.",
    "not a dictionary": b"I1\n.",
    "torch tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.",
    "a pair too few": b"ccollections\nOrderedDict\n(]N]aatR.",
}


@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(CheckpointError):
        open_torch(zipped(tmp_path / "bad.ckpt", pickled))


def test_a_refusal_names_what_the_file_wanted(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"names builtins\.eval.*nothing of it was run"):
        open_torch(zipped(tmp_path / "bad.ckpt", HOSTILE["eval"]))
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        open_torch(FILES / "module.pt")


def test_nested_tuples_do_not_take_forever(tmp_path: Path) -> None:
    doubling = b")q\x000" + b"h\x00h\x00\x86q\x000" * 60  # (t, t): 2**60 leaves to hash
    with pytest.raises(CheckpointError, match="key"):
        open_torch(zipped(tmp_path / "bad.ckpt", b"}" + doubling + b"h\x00Ns."))


def test_many_operations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="more operations"):
        open_torch(zipped(tmp_path / "bad.ckpt", b"N0" * pickles.MAX_OPERATIONS + b"N."))


# Each builds a large value from one that it remembers, again and again.
PAIRS = b"(" + b"]I1\naI2\na" * 1000 + b"l"
BOMBS = {
    "torch.Size": b"(" + b"N" * 10_000 + b"tq\x000" + b"ctorch\nSize\nh\x00\x85R" * 50_000,
    "bytes": b"X\x10\x27\x00\x00"
    + b"x" * 10_000
    + b"q\x000"
    + b"c_codecs\nencode\n(h\x00S'latin1'\ntR" * 40_000,
    "OrderedDict": PAIRS + b"q\x000" + b"ccollections\nOrderedDict\nh\x00\x85R" * 40_000,
    "axes": b"("
    + b"I1\n" * 10_000
    + b"tq\x000I0\n"
    + b"ctorch._utils\n_rebuild_tensor_v2\n(Nh\x00h\x00h\x00tR" * 10_000,
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("pickled", BOMBS.values(), ids=BOMBS.keys())
def test_a_file_cannot_build_more_than_memory_holds(tmp_path: Path, pickled: bytes) -> None:
    before = peak_memory()
    with pytest.raises(CheckpointError, match=r"operations|strange|without"):
        open_torch(zipped(tmp_path / "bad.ckpt", pickled + b"."))
    assert peak_memory() - before < 300 << 20


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_clear_error(junk: bytes) -> None:
    with contextlib.suppress(ValueError, CheckpointError):
        pickles.load(io.BytesIO(junk))


@settings(max_examples=100, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text() | st.integers(), inner)
            | st.tuples(inner, inner)
        ),
        max_leaves=20,
    ),
    protocol=st.integers(2, pickle.HIGHEST_PROTOCOL),
)
def test_plain_values_come_back(value: object, protocol: int) -> None:
    assert pickles.load(io.BytesIO(pickle.dumps(value, protocol))) == value


def test_ordered_dictionaries_come_back() -> None:
    value = OrderedDict(b=1, a=OrderedDict())
    assert pickles.load(io.BytesIO(pickle.dumps(value, 2))) == value


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray((FILES / "zip.ckpt").read_bytes())
    tensors = open_torch(FILES / "zip.ckpt")
    data[tensors["same"].offset + 5] ^= 1
    path = tmp_path / "flipped.ckpt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"checksum of same|checksum of \w+ differs"):
        open_torch(path)["same"].check()


def test_compressed_files_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bad.ckpt", b"}.", zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        open_torch(path)


@pytest.mark.parametrize("name", ["zip.ckpt", "legacy.ckpt"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    data = (FILES / name).read_bytes()
    for size in range(0, len(data) - 1, 97):
        (tmp_path / "short").write_bytes(data[:size])
        with pytest.raises(CheckpointError):
            open_torch(tmp_path / "short")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    pickled = (
        b"}S'w'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\n"
        b"S'cpu'\nI16\ntQI0\n(I1000000000\nI1000000000\nt(I1000000000\nI1\ntI00\nNtRs."
    )
    with pytest.raises(CheckpointError, match="beyond its storage"):
        open_torch(zipped(tmp_path / "bad.ckpt", pickled))


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    head = [LEGACY_MAGIC, 1001, {"little_endian": False}, {}, []]
    (tmp_path / "x").write_bytes(b"".join(pickle.dumps(part, 2) for part in head))
    with pytest.raises(CheckpointError, match="big-endian"):
        open_torch(tmp_path / "x")
