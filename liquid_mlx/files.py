"""Files of the user: read within bounds, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from liquid_mlx.errors import CheckpointError, LiquidError


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file beside its name and rename it: whole or not at all. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}.part")
    try:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_json(path: Path, error: type[LiquidError] = CheckpointError) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: a file of a model folder; of any other kind if another ``error`` is named.
        error: raised if the file is missing or does not hold a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if error is CheckpointError:
            raise error(f"{path.parent} has no {path.name}: is this a model folder?") from None
        raise error(f"There is no file {path}.") from None
    except (OSError, ValueError, RecursionError) as reason:
        raise error(f"{path} cannot be read as JSON ({reason}).") from None
    if not isinstance(values, dict):
        raise error(f"{path} does not hold a JSON object.")
    return values
