"""PyTorch checkpoint -> converted folder, in constant memory and without torch."""

from liquid_mlx.convert.describe import Verification
from liquid_mlx.convert.pipeline import Conversion, Options, convert, plan
from liquid_mlx.convert.planning import Plan
from liquid_mlx.convert.progress import Progress

__all__ = ["Conversion", "Options", "Plan", "Progress", "Verification", "convert", "plan"]
