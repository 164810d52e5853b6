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


@dataclass(frozen=True)
class Widths:
    """Arrays per token, in units of a layer's widths: of the MLP, of hidden states, of a row of
    attention scores (all heads), and of queries and keys."""

    inner: float
    hidden: float
    scores: float
    heads: float

    def of(self, config: BackboneConfig, length: int) -> float:
        """Numbers per token in a sequence of this length."""
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        return (
            self.inner * config.intermediate_size
            + self.hidden * config.hidden_size
            + self.scores * heads * length
            + self.heads * (heads + kv_heads) * config.head_dim
        )


# Measured on small models on a CPU (`python -m benchmarks.finetune memory`).
KEPT = Widths(5.9, 5.0, 1.3, 1.5)  # by each layer, for its gradients
KEPT_DORA = Widths(2.0, 2.0, 0.0, 1.5)  # more: products before their lengths are set
WORKING = Widths(9.7, 8.0, 0.0, 0.0), Widths(0.0, 5.6, 2.2, 8.0)  # gradients of MLP, attention
# With checkpoints a layer keeps what it starts from, and makes all else once more.
BETWEEN = Widths(0.0, 2.0, 0.0, 0.0)
WORKING_AGAIN = Widths(20.5, 21.0, 0.0, 0.0), Widths(0.0, 13.0, 5.5, 12.0)
TEXT_SHARE = 8  # one of so many tokens is a word to be written, where most are codes
LOGITS, LOGITS_AGAIN = 2.7, 1.3  # copies of a batch's logits in float32


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
    shape, tokens = config.backbone, rows * padded
    again = settings.grad_checkpoint
    kept = (BETWEEN if again else KEPT).of(shape, padded)
    if adapter.kind == "dora" and not again:
        kept += KEPT_DORA.of(shape, padded)
    working = max(w.of(shape, padded) for w in (WORKING_AGAIN if again else WORKING))
    text = min(MOST_LOGITS, tokens * config.image_offset // TEXT_SHARE)
    logits = max(tokens * config.vqgan.n_embed, text) * mx.float32.size
    # With it its gradients, twice where they are summed, and two moments of the optimizer.
    copies = 4 + (settings.grad_accum > 1) - (adapter.kind == "full")
    return Need(
        weight_bytes(backbone, backbone.dtype),
        tokenizer,
        copies * trainable_size(backbone, adapter) * mx.float32.size,
        int(
            (kept * layers + working) * tokens * backbone.dtype.size
            + (LOGITS_AGAIN if again else LOGITS) * logits
        ),
    )


def fit_memory(
    liquid: Liquid,
    settings: TrainSettings,
    length: int,
    *,
    checkpoint: bool | None,
    split: bool,
    machines: int = 1,
    room: int | None = None,
) -> tuple[TrainSettings, Need]:
    """Settings that fit this machine, and what they need.

    Args:
        length: tokens of the longest example.
        checkpoint: gradient checkpointing; None is only if it does not fit without.
        split: a step's examples may be worked off in smaller batches, which changes nothing else.
        machines: that share a batch.
        room: bytes of memory; None is this machine's.

    Raises:
        LowMemoryError: it does not fit, with numbers and what would help.
    """
    tokenizer = weight_bytes(liquid.vqgan, mx.float32)
    backbone = liquid.engine.backbone
    room = available() if room is None else room
    sizes = [settings.batch_size]
    while split and sizes[-1] % (2 * machines) == 0:
        sizes.append(sizes[-1] // 2)
    for again in (False, True) if checkpoint is None else (checkpoint,):
        for size in sizes:
            accumulated = settings.grad_accum * (settings.batch_size // size)
            tried = replace(
                settings, grad_checkpoint=again, batch_size=size, grad_accum=accumulated
            )
            need = step_bytes(liquid.config, backbone, tokenizer, tried, length, machines)
            if need.total <= room:
                return tried, need
    ways = ["a smaller --batch-size"] if sizes[-1] > machines else []
    ways += [] if again else ["--grad-checkpoint"]
    ways += ["fewer --layers"] if settings.adapter.layers != 1 else []
    ways += ["a model of fewer bits (liquid convert --q-bits 4)"]
    require(need.parts(), f"use {', or '.join(ways)}", room)
    return tried, need  # memory has been freed meanwhile
