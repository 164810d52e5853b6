"""PyTorch checkpoint -> converted folder, in constant memory and without torch."""

from liquid_mlx.convert.pipeline import convert

__all__ = ["convert"]
