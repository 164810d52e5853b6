"""Kernels where plain MLX costs too much: drawing a token, GroupNorm + SiLU, norms, rotation.

Each kernel stands beside the plain-MLX twin that defines it; `backend` picks one of the two
("metal", "mlx", or None for the best there is). README.md has the mathematics and the checks.
"""

from liquid_mlx.kernels.dispatch import differentiable
from liquid_mlx.kernels.group_norm import group_norm_silu
from liquid_mlx.kernels.norm import add_rms_norm
from liquid_mlx.kernels.rotary import Rotary
from liquid_mlx.kernels.sampler import filter_logits, sample_codes

__all__ = [
    "Rotary",
    "add_rms_norm",
    "differentiable",
    "filter_logits",
    "group_norm_silu",
    "sample_codes",
]
