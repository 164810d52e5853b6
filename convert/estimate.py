"""What a converted model needs to run, worked out from its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from liquid_mlx.convert.planning import Plan

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
        # The pixels come after the last code: the cache is free by then.
        return self.weights + max(self.cache, self.decoding)

    @property
    def smallest_mac(self) -> int | None:
        """Unified memory in GB of the smallest Mac that has room, leaving the rest to macOS.

        macOS lets the GPU use about two thirds of up to 36 GB, three quarters of more.
        """
        for size in MACS_GB:
            share = 2 / 3 if size <= 36 else 3 / 4
            if self.total <= share * size * 2**30:
                return size
        return None


def estimate(plan: Plan) -> Memory:
    """Memory of the model that the plan makes, in 16 bits where it is not quantized."""
    config, backbone = plan.config, plan.config.backbone
    size = config.sizes[0]
    rows, columns = config.grid(size)
    tokens = 2 * (PROMPT_TOKENS + rows * columns)
    width = backbone.num_key_value_heads * backbone.head_dim
    activations = 2 if config.dtype != "float32" else 4
    cache = 2 * tokens * backbone.num_hidden_layers * width * activations
    # Four float32 maps of the widest level at full resolution are alive in a residual block.
    channels = config.vqgan.ch * max(config.vqgan.ch_mult[:2])
    decoding = 4 * size.width * size.height * channels * 4
    return Memory(plan.nbytes, cache, decoding)
