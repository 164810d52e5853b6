"""What a first run on a machine should look at, as one report: ``liquid doctor``.

A check runs on the default device, and compares with MLX's CPU backend or with what the model's
maker stored. `report.py` holds the list of all.
"""

from liquid_mlx.doctor.checks import Check, Finding, SkippedError, Subject, WrongError, run
from liquid_mlx.doctor.report import examine, machine
from liquid_mlx.doctor.stored import STORED, remember

__all__ = [
    "STORED",
    "Check",
    "Finding",
    "SkippedError",
    "Subject",
    "WrongError",
    "examine",
    "machine",
    "remember",
    "run",
]
