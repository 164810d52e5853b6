"""What MLX computes on."""

from __future__ import annotations

import mlx.core as mx


def on_gpu() -> bool:
    """Whether the default device is a GPU."""
    return bool(mx.default_device() == mx.gpu)
