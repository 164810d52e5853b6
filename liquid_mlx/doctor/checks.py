"""What a check is, what it looks at, and what it finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from liquid_mlx.distributed.ranks import Team
from liquid_mlx.doctor.stored import STORED, digests
from liquid_mlx.files import read_json
from liquid_mlx.kernels.dispatch import Backend
from liquid_mlx.model import Liquid, load


class WrongError(Exception):
    """What a check found wrong."""


class SkippedError(Exception):
    """Why a check cannot be made here."""


@dataclass(frozen=True)
class Check:
    """``run`` returns what it found in words, or raises WrongError or SkippedError."""

    group: str
    name: str
    run: Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """How a check ended."""

    group: str
    name: str
    state: Literal["passed", "failed", "skipped"]
    detail: str
    seconds: float


@dataclass
class Subject:
    """What is examined: a model's folder, the kernels' backend (None: this device's best), and the
    links between the processes of a team."""

    folder: Path
    backend: Backend | None = None
    codes: tuple[int, ...] = (512, 8192)  # that the sampler is tried with
    width: int = 3072
    channels: int = 128
    team: Team = field(default_factory=Team)

    @cached_property
    def liquid(self) -> Liquid:
        return load(self.folder, dtype="float32")

    @cached_property
    def stored(self) -> dict[str, Any]:
        """What the maker's CPU drew with these weights."""
        path = self.folder / STORED
        if not path.exists():
            raise SkippedError(f"the model has no {STORED} to compare with")
        stored: dict[str, Any] = read_json(path)
        if stored["weights"] != digests(self.folder):
            raise SkippedError(f"its {STORED} was made with other weights: make it again")
        return stored


def run(check: Check) -> Finding:
    """Make a check; whatever happens is a finding."""
    state: Literal["passed", "failed", "skipped"] = "passed"
    start = time.perf_counter()
    try:
        detail = check.run()
    except WrongError as wrong:
        state, detail = "failed", str(wrong)
    except SkippedError as skipped:
        state, detail = "skipped", str(skipped)
    except Exception as error:  # whatever a machine that nobody has tried comes up with
        state, detail = "failed", f"{type(error).__name__}: {str(error).strip() or 'no words'}"
    seconds = time.perf_counter() - start
    return Finding(check.group, check.name, state, " ".join(detail.split()), seconds)
