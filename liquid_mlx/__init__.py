"""Liquid on MLX: one language model that generates images, answers questions and chats."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# MLX reads this at the first product. With TF32 an M5 or an NVIDIA GPU rounds float32 products to
# 10 bits, and other VQ codes and pixels come out; who sets it to 1 has chosen that.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

from liquid_mlx._version import __version__
from liquid_mlx.errors import (
    CheckpointError,
    DistributedError,
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
    from liquid_mlx.config import LiquidConfig, Size
    from liquid_mlx.images import ImageSource
    from liquid_mlx.model import Liquid, load
    from liquid_mlx.params import ImageParams, TextParams
    from liquid_mlx.results import GeneratedImage, ImageSettings, ImageStep, TextStep

# What is imported only when it is asked for, so that ``liquid --help`` stays quick.
_LATER = {
    "GeneratedImage": "results",
    "ImageParams": "params",
    "ImageSettings": "results",
    "ImageSource": "images",
    "ImageStep": "results",
    "Liquid": "model",
    "LiquidConfig": "config",
    "Size": "config",
    "TextParams": "params",
    "TextStep": "results",
    "load": "model",
}

__all__ = [
    "CheckpointError",
    "DistributedError",
    "FileError",
    "GeneratedImage",
    "HubError",
    "ImageError",
    "ImageParams",
    "ImageSettings",
    "ImageSource",
    "ImageStep",
    "Liquid",
    "LiquidConfig",
    "LiquidError",
    "LowMemoryError",
    "PromptError",
    "SettingsError",
    "Size",
    "TextParams",
    "TextStep",
    "UsageError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"liquid_mlx.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
