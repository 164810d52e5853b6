"""Liquid on MLX: one language model that generates images, answers questions and chats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# MLX reads this at the first product. With TF32 an M5 or an NVIDIA GPU rounds float32 products to
# 10 bits, and other VQ codes and pixels come out; who sets it to 1 has chosen that.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

from liquid_mlx._version import __version__
from liquid_mlx.errors import (
    CheckpointError,
    FileError,
    HubError,
    ImageError,
    LiquidError,
    LowMemoryError,
    PromptError,
    SettingsError,
    UsageError,
)

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid as Liquid
    from liquid_mlx.model import load as load

__all__ = [
    "CheckpointError",
    "FileError",
    "HubError",
    "ImageError",
    "Liquid",
    "LiquidError",
    "LowMemoryError",
    "PromptError",
    "SettingsError",
    "UsageError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import the model only when it is asked for, so that ``liquid --help`` stays quick."""
    if name in ("Liquid", "load"):
        from liquid_mlx import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
