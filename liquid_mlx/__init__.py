"""Liquid on MLX: one language model that generates images, answers questions and chats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
