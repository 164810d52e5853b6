"""What a converted model needs to run, worked out from its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from liquid_mlx.convert.planning import Plan
from liquid_mlx.convert.stored import MLX
from liquid_mlx.memory import decoder_bytes, kv_bytes

MACS_GB = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512)
PROMPT_TOKENS = 128


@dataclass(frozen=True)
class Memory:
    """Bytes to draw one picture of the default size with guidance, by use."""

    weights: int
    cache: int
    decoding: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.decoding

    @property
    def low_ram(self) -> int:
        """With ``--low-ram``, which frees the language model before pixels are decoded."""
        return max(self.weights + self.cache, self.decoding)


def smallest_mac(needed: int) -> int | None:
    """Unified memory in GB of the smallest Mac with room for ``needed`` bytes.

    macOS lets the GPU use about two thirds of up to 36 GB, and three quarters of more.
    """
    for size in MACS_GB:
        share = 2 / 3 if size <= 36 else 3 / 4
        if needed <= share * size * 2**30:
            return size
    return None


def estimate(plan: Plan) -> Memory:
    """Memory of the model that the plan makes, computing in the dtype that it is stored in."""
    config = plan.config
    size = config.sizes[0]
    rows, columns = config.grid(size)
    length = PROMPT_TOKENS + rows * columns
    return Memory(
        plan.nbytes,
        kv_bytes(config.backbone, 2, length, MLX[config.dtype]),
        decoder_bytes(config.vqgan, size.width, size.height),
    )
