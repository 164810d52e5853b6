"""Liquid 7B's geometry with random weights on one GPU: ``python -m benchmarks.gpu_7b``.

This project with 4-bit weights (embedding and head at 8) on MLX's GPU backend (``pip install -e
.[cuda,bench]``, or a Mac), with its kernels and with plain MLX in their place, its share of the
bandwidth that a copy reaches, and beside it what the PyTorch reference does, in bfloat16 on the
same GPU. ``--small`` runs a small geometry anywhere, to see that the script works.

Never run on a GPU so far: there was none.
"""

from __future__ import annotations

import argparse
import statistics
import time

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from benchmarks.loops.geometry import LIQUID_7B, Model, gemma
from liquid_mlx.cli.bench.measure import copy_bandwidth
from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.kernels.dispatch import differentiable
from liquid_mlx.memory import kv_bytes, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Embedding, Linear, Quantization
from liquid_mlx.params import ImageParams

SMALL = Model(gemma(4096, 256, 512, 2, 4, 64), 3072, 1024, 8)
PROMPT = [2, *range(11, 25), 7]
UNCONDITIONAL = [2, 9, 7]


def quantized(config: BackboneConfig) -> Backbone:
    """A backbone of random packed weights, small in value."""
    backbone = Backbone(config)
    backbone.dtype = mx.bfloat16
    for module in backbone.modules():
        if isinstance(module, Linear):
            module.quantize(Quantization(8 if isinstance(module, Embedding) else 4, 64))

    def fill(a: mx.array) -> mx.array:
        if a.dtype == mx.uint32:
            return mx.random.randint(0, 2**31 - 1, a.shape).astype(mx.uint32)
        return (mx.random.uniform(shape=a.shape) * 1e-3).astype(mx.bfloat16)

    for block in backbone.model.layers:
        block.update(tree_map(fill, block.parameters()))
        mx.eval(block.parameters())
    backbone.model.embed_tokens.update(tree_map(fill, backbone.model.embed_tokens.parameters()))
    backbone.fuse()
    return backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--codes", type=int)
    options = parser.parse_args()
    model = SMALL if options.small else LIQUID_7B
    total = options.codes or model.total
    if not options.small and not on_gpu():
        raise SystemExit("No GPU here for MLX: --small runs a small geometry on the CPU.")
    bandwidth = copy_bandwidth()
    backbone = quantized(BackboneConfig.from_dict(model.config))
    head = backbone.head(model.image_offset, model.image_offset + model.codes)

    def ours() -> float:
        start = time.perf_counter()
        prefixes = [prefill(backbone, ids) for ids in (PROMPT, UNCONDITIONAL)]
        draw = Draw([0], ImageParams())
        *_, last = draw_codes(backbone, head, model.image_offset, prefixes, draw, total)
        drawn.append(np.asarray(last.codes))
        return time.perf_counter() - start

    def plain() -> float:
        with differentiable():  # which kernels are not
            return ours()

    drawn: list[np.ndarray] = []
    columns = {"liquid-mlx, 4-bit": ours, "liquid-mlx, 4-bit, no kernels": plain}
    try:
        import torch

        from benchmarks.loops.pytorch import Loop

        device = "cuda" if torch.cuda.is_available() else "cpu"
        loop = Loop(model, device, torch.bfloat16)

        def theirs() -> float:
            start = time.perf_counter()
            loop.draw(PROMPT, UNCONDITIONAL, total, [0])
            return time.perf_counter() - start

        columns[f"PyTorch, bfloat16 on {device}"] = theirs
    except ImportError:
        print("PyTorch is not installed: its column is left out.")
    for run in columns.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(options.pairs):
        for name, run in columns.items():
            seconds[name].append(run())
    table = weight_bytes(backbone.model.embed_tokens, mx.bfloat16)
    weights = weight_bytes(backbone, mx.bfloat16) - table
    weights += table * model.codes // backbone.config.vocab_size
    step = weights + kv_bytes(backbone.config, 2, len(PROMPT) + total // 2, mx.bfloat16)
    same = float((drawn[0] == drawn[1]).mean())
    print(f"{mx.device_info()}\n{same:.1%} of the codes are the same with kernels and without")
    print(f"copy {bandwidth / 1e9:.0f} GB/s, {step / 1e9:.3f} GB a step\n")
    print("| loop | codes/s | s a picture | of the bound |\n|---|---|---|---|")
    for name, times in seconds.items():
        middle = statistics.median(times)
        share = f"{step * total / bandwidth / middle:.0%}" if "4-bit" in name else ""
        print(f"| {name} | {total / middle:.1f} | {middle:.1f} | {share} |")


if __name__ == "__main__":
    main()
