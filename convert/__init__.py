"""PyTorch checkpoint -> converted folder, in constant memory and without torch."""

from liquid_mlx.convert.pipeline import Conversion, convert, plan
from liquid_mlx.convert.plan import Plan
from liquid_mlx.convert.verify import Verification
from liquid_mlx.convert.write import Progress

__all__ = ["Conversion", "Plan", "Progress", "Verification", "convert", "plan"]
