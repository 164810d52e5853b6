"""A training step's peak memory against the prediction of `liquid_mlx.tuner.memory`.

On random weights of several shapes, ``mid`` among them, with and without gradient checkpointing.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.generation.sampling import fold_in
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Linear, Quantization
from liquid_mlx.tuner.lora import AdapterSettings
from liquid_mlx.tuner.loss import Example
from liquid_mlx.tuner.memory import step_bytes
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import Trainer

VQ = VQGANConfig(32, (1, 1, 2, 4), 1, (), 64, 32, 32, 512)


def random_model(
    kind: str,
    hidden: int,
    inner: int,
    layers: int,
    heads: int,
    width: int,
    text: int,
    codes: int,
    bits: int | None = None,
) -> tuple[LiquidConfig, Backbone]:
    """A model of random weights in float32, or packed into so many bits."""
    shape = BackboneConfig(
        kind, text + codes, hidden, inner, layers, heads, heads, width, tie_word_embeddings=True
    )
    vqgan = VQGANConfig(**{**VQ.__dict__, "n_embed": codes})
    config = LiquidConfig(
        shape, vqgan, text, {"boi": 7, "eoi": 8, "unconditional": 9}, (Size(64, 64),), (1,)
    )
    backbone = Backbone(shape)
    key = mx.random.key(0)
    backbone.update(
        tree_map(lambda a: 0.02 * mx.random.normal(a.shape, key=fold_in(key, a.size)),
                 backbone.parameters())
    )  # fmt: skip
    for module in backbone.modules():
        if bits and isinstance(module, Linear):
            packed = mx.quantize(module.weight, group_size=32, bits=bits)
            module.quantize(Quantization(bits, 32))
            module.update(dict(zip(("weight", "scales", "biases"), packed, strict=True)))
    mx.eval(backbone.parameters())
    return config, backbone


class Sequences:
    """Batches of random examples: a prompt of text, then codes."""

    def __init__(self, config: LiquidConfig, batch_size: int, length: int, prompt: int = 40):
        self._config, self._batch_size = config, batch_size
        self._length, self._prompt = length, prompt

    def batches(self, step: int = 0) -> Iterator[list[Example]]:
        rng = np.random.default_rng(step)
        start = self._config.image_offset
        stop = start + self._config.vqgan.n_embed
        while True:
            yield [
                Example(
                    np.concatenate(
                        [
                            rng.integers(0, start, self._prompt),
                            rng.integers(start, stop, self._length + 1 - self._prompt),
                        ]
                    ).astype(np.int32),
                    np.arange(self._length + 1) >= self._prompt,
                )
                for _ in range(self._batch_size)
            ]


def memory_row(
    name: str,
    shape: tuple[Any, ...],
    batch_size: int,
    length: int,
    checkpoint: bool,
    bits: int | None = None,
    **adapter: Any,
) -> dict[str, Any]:
    """Predicted and measured bytes of a step, the second, when the optimizer's state is there."""
    gc.collect()
    others = mx.get_active_memory()  # of whatever this process has loaded before
    config, backbone = random_model(*shape, bits=bits)
    settings = TrainSettings(
        batch_size=batch_size,
        grad_checkpoint=checkpoint,
        adapter=AdapterSettings(**{"layers": -1, **adapter}),
    )
    predicted = step_bytes(config, backbone, 0, settings, length + 1)
    order: Any = Sequences(config, batch_size, length)
    trainer = Trainer(backbone, config, settings, order)
    list(trainer.run(1))
    gc.collect()
    mx.clear_cache()
    gc.disable()
    mx.reset_peak_memory()
    list(trainer.run(2))
    peak = mx.get_peak_memory() - others
    gc.enable()
    return {
        "model": name,
        "checkpoint": checkpoint,
        "batch": batch_size,
        "length": length,
        **({"bits": bits} if bits else {}),
        **adapter,
        "predicted_mb": round(predicted.total / 1e6, 1),
        "measured_mb": round(peak / 1e6, 1),
        "ratio": round(predicted.total / peak, 3),
        "parts": {name: round(size / 1e6, 1) for name, size in predicted.parts().items()},
    }


SMALL = ("gemma", 128, 352, 4, 4, 32, 640, 512)
SHAPES = {
    "small": SMALL,
    "deep": ("gemma", 128, 352, 8, 4, 32, 640, 512),
    "inner": ("gemma", 128, 704, 4, 4, 32, 640, 512),
    "wide": ("gemma", 256, 352, 4, 4, 32, 640, 512),
    "heads": ("gemma", 128, 352, 4, 8, 32, 640, 512),
    "codes": ("gemma", 128, 352, 4, 4, 32, 640, 4096),
    "llama": ("llama", 128, 352, 4, 4, 32, 640, 512),
}
MID = ("gemma", 1024, 2816, 12, 8, 128, 256000, 8192)


def memory(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if arguments.mid:
        for checkpoint in (False, True):
            yield memory_row("mid", MID, 1, 256, checkpoint)
        return
    for name, shape in SHAPES.items():
        for checkpoint in (False, True):
            yield memory_row(name, shape, 2, 128, checkpoint)
    for checkpoint in (False, True):
        yield memory_row("small", SMALL, 1, 256, checkpoint)
        yield memory_row("small", SMALL, 2, 128, checkpoint, bits=4)
    yield memory_row("small", SMALL, 2, 128, False, kind="dora")
    yield memory_row("small", SMALL, 2, 128, False, embeddings=True)
    yield memory_row("small", SMALL, 2, 128, False, kind="full", embeddings=True)
