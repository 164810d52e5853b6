"""The folder to be made: whether it can be, and that it appears whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from liquid_mlx.errors import CheckpointError, FileError
from liquid_mlx.files import TMP, remove_stale

from ..planning.plan import Plan

SPARE_BYTES = 64 << 20


def check_target(target: Path, needed: int = 0) -> None:
    """Make sure that ``target`` can be made, and that ``needed`` bytes fit.

    Raises:
        FileError: it exists, its folder does not or cannot be written, or has no room.
    """
    if target.exists() or target.is_symlink():
        raise FileError(f"{target} exists already: delete it or choose another --mlx-path.")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise FileError(f"There is no folder {parent} to make {target.name} in.")
    if not os.access(parent, os.W_OK):
        raise FileError(f"{parent} cannot be written: choose another --mlx-path.")
    free = shutil.disk_usage(parent).free
    if free < needed + SPARE_BYTES:
        raise FileError(
            f"The converted model needs {needed / 1e9:.1f} GB, but {parent} has "
            f"{free / 1e9:.1f} GB left: free some, or choose another --mlx-path."
        )


def stamps(plan: Plan) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file that a plan reads."""
    files = {path for part in (*plan.parts, *plan.vqgan_parts) for path in part.source.files}
    return {path: _stamp(path) for path in files | set(plan.copied)}


def check_unchanged(before: Mapping[Path, tuple[int, int]]) -> None:
    """Raise CheckpointError if a file has changed since ``stamps``."""
    for path, stamp in before.items():
        if _stamp(path) != stamp:
            raise CheckpointError(f"{path} was changed during the conversion: start again.")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``target`` if all goes well, and else disappears.

    It is a hidden neighbour of ``target``. What killed runs have left there is removed first; one
    that a living run fills (and has locked) is an error.

    Raises:
        FileError: another process makes or has made ``target``, or it cannot be written.
    """
    tmp = tmp_name(target)
    try:
        remove_stale(tmp.parent)
        lock = _locked(tmp, target)
        try:
            for path in tmp.iterdir():
                path.unlink()
            yield tmp
            if target.exists():
                raise FileError(f"{target} has appeared meanwhile: choose another.")
            tmp.rename(target)
        finally:
            with _without_interrupts():
                shutil.rmtree(tmp, ignore_errors=True)
                os.close(lock)
    except OSError as error:
        raise FileError(f"{target} cannot be written ({error.strerror or error}).") from None


def tmp_name(target: Path) -> Path:
    """For one target always the same, so that two conversions to it meet."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.absolute().parent / TMP.format(name)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a second Ctrl-C wait until the first has been cleaned up after."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _locked(tmp: Path, target: Path) -> int:
    """Make the folder if it is not there, and lock it for as long as this process lives."""
    tmp.mkdir(exist_ok=True)
    lock = os.open(tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(tmp).st_ino != os.fstat(lock).st_ino:
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        raise FileError(f"Another conversion is writing {target}: wait for it.") from None
    return lock
