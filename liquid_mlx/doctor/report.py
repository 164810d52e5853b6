"""All checks, one after the other, and what they depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version

import mlx.core as mx

from liquid_mlx._version import __version__
from liquid_mlx.doctor.checks import Check, Finding, Subject, run
from liquid_mlx.doctor.kernels import kernels, precision
from liquid_mlx.doctor.links import links
from liquid_mlx.doctor.model import drawing, speed, threads
from liquid_mlx.memory import available

GROUPS: tuple[Callable[[Subject], list[Check]], ...] = (
    precision,
    kernels,
    drawing,
    threads,
    speed,
    links,
)


def examine(subject: Subject) -> Iterator[tuple[Finding, int]]:
    """Run every check: each finding as it comes, with the number of all."""
    checks = [check for group in GROUPS for check in group(subject)]
    for check in checks:
        yield run(check), len(checks)


def machine() -> dict[str, str]:
    """What the findings depend on, in words."""
    system = platform.mac_ver()[0]
    return {
        "machine": str(mx.device_info().get("device_name", platform.machine())),
        "system": f"macOS {system}" if system else f"{platform.system()} {platform.release()}",
        "device": mx.default_device().type.name,
        "memory for MLX": f"{available() / 1e9:.1f} GB",
        "versions": f"liquid-mlx {__version__}, MLX {version('mlx')}, "
        f"Python {platform.python_version()}",
        "MLX_ENABLE_TF32": os.environ.get("MLX_ENABLE_TF32", "not set"),
    }
