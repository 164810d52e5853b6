"""What commands do where ``mlx.launch`` started several of them: meet, agree, and say it once."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from liquid_mlx._version import __version__
from liquid_mlx.distributed.ranks import Team, join, launched, own_rank
from liquid_mlx.errors import FileError, LiquidError, UsageError

if TYPE_CHECKING:
    from .terminal import Status

PATIENCE = 1.0  # seconds in which rank 0 can speak before its launcher ends all processes


def start(
    status: Status, tensor_parallel: bool = False, pipeline_parallel: str | None = None
) -> Team:
    """The processes of this run, of the same version and with the same command line.

    If one model is asked for, instead of a model for each, only rank 0 speaks from here on.

    Raises:
        UsageError: one model is asked for, and this process was launched alone.
        DistributedError: they cannot meet, or differ.
    """
    if tensor_parallel and pipeline_parallel:
        raise UsageError("--tensor-parallel and --pipeline-parallel cannot be combined.")
    one_model = tensor_parallel or pipeline_parallel is not None
    team = join(one_model=one_model)
    if one_model and team.size == 1:
        raise UsageError(
            "--tensor-parallel and --pipeline-parallel need several processes: start them with "
            "`mlx.launch -n 2 -- liquid ...`, or with --hostfile on several machines."
        )
    if team.size > 1:
        import shlex
        from importlib.metadata import version

        command = shlex.join(sys.argv[1:])
        facts = {
            "liquid-mlx": __version__,
            "MLX": version("mlx"),
            "the command": command if len(command) < 200 else command[:199] + "…",
        }
        with team.together(**facts):
            pass
        if one_model and not team.first:
            status.follow()
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)
    return team


def same(team: Team, what: str, values: Sequence[str]) -> None:
    """Raise DistributedError unless all processes have the same list to work on."""
    if team.size > 1:
        data = "\n".join(values).encode(errors="surrogateescape")
        with team.together(**{what: f"{len(values)} ({hashlib.sha256(data).hexdigest()[:8]})"}):
            pass


def refuse_stdin() -> None:
    """Raise FileError where standard input is not this process's own.

    ``mlx.launch`` copies its standard input to all processes, and never ends theirs.
    """
    if launched():
        raise FileError("mlx.launch does not end the standard input of what it starts: use a file.")


def named(message: str) -> str:
    """A message with this process's rank, if it is one of several and not rank 0."""
    rank = own_rank() if launched() else 0
    return message if not rank or message.startswith(f"rank {rank} ") else f"rank {rank}: {message}"


def said_elsewhere(error: LiquidError) -> bool:
    """Whether rank 0 says this error for all; the others give it the time to."""
    if not launched() or own_rank() == 0:
        return False
    if error.shared:
        time.sleep(PATIENCE)
    return error.shared
