"""The documented name of the sampling distribution."""

from liquid_mlx.generation.sampling import distribution

__all__ = ["distribution"]
