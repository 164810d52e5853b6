"""PyTorch checkpoint -> converted folder, in constant memory and without torch."""

from .api import Conversion, convert, plan
from .planning.options import Options
from .planning.plan import Plan
from .progress import Progress
from .verify import Verification

__all__ = ["Conversion", "Options", "Plan", "Progress", "Verification", "convert", "plan"]
