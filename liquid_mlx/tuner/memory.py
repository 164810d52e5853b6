"""What a training step takes of memory, before it is tried."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mlx.core as mx

from liquid_mlx.config import BackboneConfig, LiquidConfig
from liquid_mlx.memory import available, require, weight_bytes
from liquid_mlx.model import Liquid
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.tuner.lora import trainable_size
from liquid_mlx.tuner.loss import MOST_LOGITS, PAD_TOKENS
from liquid_mlx.tuner.settings import TrainSettings

# Arrays per token that a layer keeps for its gradients, in units of each width; measured on small
# models (`python -m benchmarks.finetune memory`).
INNER, HIDDEN, SCORES, HEADS = 6.4, 5.1, 1.5, 1.7
WORKING = 1.0  # such layers' worth of scratch while a layer's gradients are computed
WORKING_AGAIN = 3.0  # the same where the layer's own arrays are computed a second time
BETWEEN = 2  # widths of hidden states that stand between checkpointed layers
LOGITS = 3  # copies of a batch's logits in float32


@dataclass(frozen=True)
class Need:
    """Bytes of a training step, by use."""

    weights: int
    tokenizer: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.tokenizer + self.trained + self.activations

    def parts(self) -> dict[str, int]:
        return {
            "weights": self.weights,
            "image tokenizer": self.tokenizer,
            "adapter, gradients and optimizer": self.trained,
            "activations": self.activations,
        }


def step_bytes(
    config: LiquidConfig,
    backbone: Backbone,
    tokenizer: int,
    settings: TrainSettings,
    length: int,
    machines: int = 1,
) -> Need:
    """What a step over sequences of ``length`` tokens takes.

    Args:
        backbone: as it is before `prepare`.
        tokenizer: bytes of the image tokenizer, which stays in memory for previews.
    """
    adapter = settings.adapter
    rows = max(1, settings.batch_size // machines)
    padded = -(-(length - 1) // PAD_TOKENS) * PAD_TOKENS
    layers = adapter.layers_of(config.backbone.num_hidden_layers)
    size = backbone.dtype.size
    per_token = layer_elements(config.backbone, padded)
    if settings.grad_checkpoint:
        kept = BETWEEN * config.backbone.hidden_size * layers
        working = WORKING_AGAIN * per_token
    else:
        kept, working = int(per_token * layers), WORKING * per_token
    logits = LOGITS * rows * padded * config.vqgan.n_embed * mx.float32.size
    logits = max(logits, LOGITS * 4 * min(MOST_LOGITS, rows * padded * config.image_offset // 8))
    # With it its gradients, twice where they are summed, and two moments of the optimizer.
    copies = 4 + (settings.grad_accum > 1) - (adapter.kind == "full")
    return Need(
        weight_bytes(backbone, backbone.dtype),
        tokenizer,
        copies * trainable_size(backbone, adapter) * mx.float32.size,
        int((kept + working) * rows * padded * size + logits),
    )


def layer_elements(config: BackboneConfig, length: int) -> float:
    """Numbers per token that a layer keeps for its gradients."""
    heads, width = config.num_attention_heads, config.head_dim
    projected = (heads + config.num_key_value_heads) * width
    return (
        INNER * config.intermediate_size
        + HIDDEN * config.hidden_size
        + SCORES * heads * length
        + HEADS * projected
    )


def fit_memory(
    liquid: Liquid, settings: TrainSettings, length: int, checkpoint: bool | None
) -> tuple[TrainSettings, Need]:
    """Settings that fit this machine, and what they need.

    Args:
        checkpoint: gradient checkpointing; None is only if it does not fit without.

    Raises:
        LowMemoryError: it does not fit, with numbers and what would help.
    """
    tokenizer = weight_bytes(liquid.vqgan, mx.float32)
    backbone, machines = liquid.engine.backbone, mx.distributed.init().size()

    def need(checkpoint: bool) -> tuple[TrainSettings, Need]:
        tried = replace(settings, grad_checkpoint=checkpoint)
        return tried, step_bytes(liquid.config, backbone, tokenizer, tried, length, machines)

    found = need(bool(checkpoint))
    if checkpoint is None and found[1].total > available():
        found = need(True)
    ways = ["a smaller --batch-size"] if settings.batch_size > machines else []
    ways += [] if found[0].grad_checkpoint else ["--grad-checkpoint"]
    ways += ["fewer --layers"] if settings.adapter.layers != 1 else []
    ways += ["a model of fewer bits (liquid convert --q-bits 4)"]
    require(found[1].parts(), f"use {', or '.join(ways)}")
    return found
