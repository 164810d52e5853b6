"""Killed, stopped, out of room, forbidden, changed under its hands: never half a folder."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert import Progress, convert
from liquid_mlx.convert.write.atomic import tmp_name
from liquid_mlx.errors import CheckpointError, FileError
from liquid_mlx.weights import load_backbone, load_vqgan
from tests.conftest import heed_interrupts
from tests.convert.conftest import write_checkpoint

PROGRAM = """
import sys
from liquid_mlx.convert import convert
from liquid_mlx.errors import LiquidError
print("ready", flush=True)
try:
    convert(sys.argv[1], sys.argv[2], quantize=True, verify_result=False)
except LiquidError as error:
    sys.exit(f"liquid: {error}")
"""


def is_tmp(name: str) -> bool:
    return name.startswith(".liquid-mlx-") and name.endswith(".tmp")


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def start(checkpoint: Path, out: Path, **kwargs: object) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(checkpoint), str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 60 MB: long enough to be killed in the middle of."""
    folder = tmp_path_factory.mktemp("larger") / "checkpoint"
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4}
    return write_checkpoint(folder, **sizes)


@pytest.mark.slow
def test_killed_at_any_moment(larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    began = time.monotonic()
    whole = start(larger, out)
    whole.communicate()
    seconds = time.monotonic() - began
    assert whole.returncode == 0
    expected = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(out)
    moments = random.Random(0)
    killed = 0
    for _ in range(20):
        process = start(larger, out)
        assert process.stdout is not None
        process.stdout.readline()  # importing is not what is tested
        time.sleep(moments.uniform(0, seconds * 0.5))
        process.kill()
        process.communicate()  # closes its pipes, too
        assert {name for name in left_in(tmp_path) if not is_tmp(name)} <= {"out"}
        if out.exists():  # it was quick enough: then it is whole
            assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
            shutil.rmtree(out)
        else:
            killed += 1
    assert killed >= 5
    convert(larger, out, quantize=True)  # starts over cleanly
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.name != "README.md"} == {
        name: data for name, data in expected.items() if name != "README.md"
    }
    assert left_in(tmp_path) == {"out"}
    load_backbone(out, LiquidConfig.read(out))
    load_vqgan(out, LiquidConfig.read(out))


def test_what_a_killed_run_left_is_no_model(checkpoint: Path, tmp_path: Path) -> None:
    for name in (f".liquid-mlx-{'0' * 16}.tmp", tmp_name(tmp_path / "out").name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stranger").write_bytes(b"old")
    (tmp_path / ".liquid-mlx-mine.tmp").mkdir()
    convert(checkpoint, tmp_path / "out", verify_result=False)
    assert left_in(tmp_path) == {"checkpoint", "out", ".liquid-mlx-mine.tmp"}
    assert "stranger" not in left_in(tmp_path / "out")


def test_ctrl_c_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > progress.total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, tmp_path / "out", on_progress=stop)
    assert left_in(tmp_path) == {"checkpoint"}


@pytest.mark.slow
def test_a_signal_leaves_nothing(larger: Path, tmp_path: Path) -> None:
    process = start(larger, tmp_path / "out", preexec_fn=heed_interrupts)
    assert process.stdout is not None
    process.stdout.readline()
    while not (tmp_name(tmp_path / "out") / "vqgan.safetensors").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    assert left_in(tmp_path) == set()


def test_two_at_once(checkpoint: Path, tmp_path: Path) -> None:
    messages = []

    def again(progress: Progress) -> None:
        if not messages:
            with pytest.raises(FileError, match="Another conversion") as error:
                convert(checkpoint, tmp_path / "out")
            messages.append(str(error.value))

    convert(checkpoint, tmp_path / "out", on_progress=again, verify_result=False)
    assert messages
    assert LiquidConfig.read(tmp_path / "out")


def test_a_target_that_appears_meanwhile_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    def appear(progress: Progress) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "mine").write_text("mine")

    with pytest.raises(FileError, match="appeared meanwhile"):
        convert(checkpoint, tmp_path / "out", on_progress=appear, verify_result=False)
    assert left_in(tmp_path) == {"checkpoint", "out"}
    assert left_in(tmp_path / "out") == {"mine"}


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "chameleon/vqgan.ckpt"])
def test_a_source_that_changes_is_noticed(checkpoint: Path, tmp_path: Path, name: str) -> None:
    def change(progress: Progress) -> None:
        if progress.done == progress.total:
            path = checkpoint / name
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))

    with pytest.raises(CheckpointError, match=f"{name} was changed"):
        convert(checkpoint, tmp_path / "out", on_progress=change, verify_result=False)
    assert left_in(tmp_path) == {"checkpoint"}


def test_a_source_that_vanishes_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    def remove(progress: Progress) -> None:
        for path in checkpoint.glob("model-*"):
            path.unlink()

    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(checkpoint, tmp_path / "out", on_progress=remove)
    assert left_in(tmp_path) == {"checkpoint"}


def test_files_may_not_grow(larger: Path, tmp_path: Path) -> None:
    """A full disk, as any system can imitate it: writes fail half-way."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))

    process = start(larger, tmp_path / "out", preexec_fn=limit)
    _, errors = process.communicate()
    assert "cannot be written (File too large)" in errors
    assert "Traceback" not in errors
    assert left_in(tmp_path) == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_small_disk(larger: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match=r"has 0\.0 GB left"):
        convert(larger, small_disk / "out")
    assert left_in(small_disk) == set()
    usage = shutil.disk_usage(small_disk)._replace(free=10**12)  # it fills up after the check
    monkeypatch.setattr("liquid_mlx.convert.write.atomic.shutil.disk_usage", lambda _: usage)
    with pytest.raises(FileError, match=r"cannot be written \(No space left"):
        convert(larger, small_disk / "out")
    assert left_in(small_disk) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(FileError, match="cannot be written"):
        convert(checkpoint, tmp_path / "locked" / "out")
