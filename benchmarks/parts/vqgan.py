"""The image tokenizer at 512x512: MLX against PyTorch, in pairs within one run, and its memory.

    python -m benchmarks.parts.vqgan           # pairs, needs torch (pip install -e .[bench])
    python -m benchmarks.parts.vqgan --memory  # peak memory, MLX alone
    python -m benchmarks.parts.vqgan --paper   # bytes and launches of a GPU, on paper

For a fair comparison on Linux preload OpenBLAS (LD_PRELOAD=.../libopenblas.so.0): the BLAS in MLX's
wheel is the slow reference one. Weights are random, the same on both sides, and the outputs are
compared before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from unittest.mock import patch

import mlx.core as mx
import numpy as np

from liquid_mlx.config import VQGANConfig
from liquid_mlx.convert.read.layout import expected_shapes
from liquid_mlx.nn import vqgan as modules
from liquid_mlx.nn.vqgan import VQGAN

OFFICIAL = VQGANConfig(
    ch=128,
    ch_mult=(1, 1, 2, 2, 4),
    num_res_blocks=2,
    attn_resolutions=(),
    resolution=512,
    z_channels=256,
    embed_dim=256,
    n_embed=8192,
)


def random_weights(config: VQGANConfig) -> dict[str, np.ndarray]:
    """Name -> float32 in MLX's layout, scaled so that activations stay near 1."""
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        values = random.standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:
            tensors[name] = values * 0.05 + ("norm" in name and name.endswith("weight"))
        else:
            tensors[name] = values / np.float32(np.sqrt(np.prod(shape[1:])))
    return tensors


def mlx_model(tensors: dict[str, np.ndarray], config: VQGANConfig) -> VQGAN:
    model = VQGAN(config)
    model.load_weights([(name, mx.array(values)) for name, values in tensors.items()])
    mx.eval(model.parameters())
    return model


def inputs(config: VQGANConfig) -> tuple[np.ndarray, np.ndarray]:
    """One picture [1, H, W, 3] and one grid of codes [1, rows, columns]."""
    random = np.random.default_rng(1)
    side = config.resolution // config.factor
    picture = random.uniform(-1, 1, (1, config.resolution, config.resolution, 3))
    return picture.astype(np.float32), random.integers(0, config.n_embed, (1, side, side))


class TorchVQGAN:
    """The same network as plain functions on a dict of tensors."""

    def __init__(self, tensors: dict[str, np.ndarray], config: VQGANConfig) -> None:
        import torch

        self.torch, self.config = torch, config
        self.weights = {
            name: torch.from_numpy(
                np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if values.ndim == 4 else values
            )
            for name, values in tensors.items()
        }

    def conv(self, name, x, stride=1, padding=1):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        padding = padding if weight.shape[-1] == 3 else 0
        return self.torch.nn.functional.conv2d(x, weight, bias, stride, padding)

    def norm(self, name, x, silu=True):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        x = self.torch.nn.functional.group_norm(x, 32, weight, bias, 1e-6)
        return self.torch.nn.functional.silu(x) if silu else x

    def block(self, name, x):
        h = self.conv(f"{name}.conv1", self.norm(f"{name}.norm1", x))
        h = self.conv(f"{name}.conv2", self.norm(f"{name}.norm2", h))
        shortcut = f"{name}.nin_shortcut"
        return h + (self.conv(shortcut, x) if f"{shortcut}.weight" in self.weights else x)

    def mid(self, name, x):
        x = self.block(f"{name}.block_1", x)
        h = self.norm(f"{name}.attn_1.norm", x, silu=False)
        q, k, v = (self.conv(f"{name}.attn_1.{part}", h).flatten(2) for part in "qkv")
        scores = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(dim=2)
        h = (v @ scores.transpose(1, 2)).reshape(x.shape)
        return self.block(f"{name}.block_2", x + self.conv(f"{name}.attn_1.proj_out", h))

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        with self.torch.no_grad():
            x = self.torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
            x = self.conv("encoder.conv_in", x)
            for level in range(len(self.config.ch_mult)):
                for i in range(self.config.num_res_blocks):
                    x = self.block(f"encoder.down.{level}.block.{i}", x)
                if level < len(self.config.ch_mult) - 1:
                    x = self.torch.nn.functional.pad(x, (0, 1, 0, 1))
                    x = self.conv(f"encoder.down.{level}.downsample.conv", x, stride=2, padding=0)
            x = self.norm("encoder.norm_out", self.mid("encoder.mid", x))
            x = self.conv("quant_conv", self.conv("encoder.conv_out", x))
            z = x.permute(0, 2, 3, 1).flatten(0, 2)
            book = self.weights["quantize.embedding.weight"]
            distances = (z**2).sum(1, keepdim=True) + (book**2).sum(1) - 2 * z @ book.T
            return distances.argmin(1).reshape(x.shape[0], *x.shape[2:]).numpy()

    def decode(self, codes: np.ndarray) -> np.ndarray:
        with self.torch.no_grad():
            book = self.weights["quantize.embedding.weight"]
            x = book[self.torch.from_numpy(codes)].permute(0, 3, 1, 2)
            x = self.conv("decoder.conv_in", self.conv("post_quant_conv", x))
            x = self.mid("decoder.mid", x)
            for level in reversed(range(len(self.config.ch_mult))):
                for i in range(self.config.num_res_blocks + 1):
                    x = self.block(f"decoder.up.{level}.block.{i}", x)
                if level:
                    x = self.torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
                    x = self.conv(f"decoder.up.{level}.upsample.conv", x)
            x = self.conv("decoder.conv_out", self.norm("decoder.norm_out", x))
            return x.permute(0, 2, 3, 1).numpy()


def compare(config: VQGANConfig, repeats: int, threads: int) -> None:
    tensors = random_weights(config)
    ours, theirs = mlx_model(tensors, config), TorchVQGAN(tensors, config)
    theirs.torch.set_num_threads(threads)
    picture, codes = inputs(config)
    work: dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]] = {
        "encode": (
            lambda: np.array(ours.encode(mx.array(picture))),
            lambda: theirs.encode(picture),
        ),
        "decode": (lambda: np.array(ours.decode(mx.array(codes))), lambda: theirs.decode(codes)),
    }
    same = np.mean(work["encode"][0]() == work["encode"][1]())
    apart = np.abs(work["decode"][0]() - work["decode"][1]()).max()
    print(f"agreement: {same:.2%} of the codes equal, decoded pixels within {apart:.1e}")
    print(f"{threads} threads, LD_PRELOAD={os.environ.get('LD_PRELOAD', '(none)')}")
    print(f"{'':8}{'':6}{'MLX':>8}{'PyTorch':>9}{'ratio':>7}   (medians of {repeats} pairs)")
    for name, sides in work.items():
        pairs = np.array([[seconds(side) for side in sides] for _ in range(repeats)])
        for column, clock in enumerate(("wall s", "CPU s")):
            ours_s, theirs_s = np.median(pairs[..., column], axis=0)
            ratio = np.median(pairs[:, 0, column] / pairs[:, 1, column])
            print(f"{name:8}{clock:6}{ours_s:8.2f}{theirs_s:9.2f}{ratio:7.2f}")


def seconds(run: Callable[[], np.ndarray]) -> tuple[float, float]:
    """Wall and CPU time; on a busy machine compare CPU times with one thread on each side."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def memory(config: VQGANConfig) -> None:
    model = mlx_model(random_weights(config), config)
    picture, codes = inputs(config)
    for name, run in (
        ("encode", lambda: model.encode(mx.array(picture))),
        ("decode", lambda: model.decode(mx.array(codes))),
    ):
        mx.clear_cache()
        mx.reset_peak_memory()
        mx.eval(run())
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"{name}: peak {mx.get_peak_memory() / 1e9:.2f} GB by MLX's count "
            f"(weights {sum(4 * np.prod(s) for s in expected_shapes(config).values()) / 1e9:.2f}), "
            f"process so far {resident / 1e9:.2f} GB resident"
        )


def paper(config: VQGANConfig) -> None:
    """Bytes that a GPU moves and kernels that it launches, stage by stage, from the shapes alone.

    Every operation reads its inputs and writes its output once, in float32. The fused norm reads
    its input twice and writes once (3 kernels); MLX's `nn.GroupNorm(pytorch_compatible=True)` and
    SiLU copy to groups, normalise, copy back, scale, shift and activate: 12 passes, 6 kernels.
    """
    model = VQGAN(config)
    side = config.resolution // config.factor
    columns = ("convolutions", "adds, upsampling", "fused norms", "norms unfused")
    for name, run in (
        ("encode", lambda: model.encoder(mx.zeros((1, config.resolution, config.resolution, 3)))),
        ("decode", lambda: model.decoder(mx.zeros((1, side, side, config.z_channels)))),
    ):
        print(f"\n{name}: MB moved (kernels)")
        print(f"{'size':>6}" + "".join(f"{column:>18}" for column in columns) + f"{'GFLOP':>8}")
        stages = traffic(run)
        everything = [np.sum([row[i] for row in stages.values()], axis=0) for i in range(5)]
        for size, row in [*stages.items(), ("all", everything)]:
            cells = "".join(f"{size / 1e6:12.0f} ({kernels:3.0f})" for size, kernels in row[:4])
            print(f"{size:>6}{cells}{row[4][0] / 1e9:8.0f}")
        rest = everything[0] + everything[1]
        size, kernels = (rest + everything[3]) / (rest + everything[2])
        print(f"with unfused norms: {size:.2f} times the bytes, {kernels:.2f} times the kernels")


def traffic(run: Callable[[], mx.array]) -> dict[str, np.ndarray]:
    """Size -> (bytes, kernels) of convolutions, adds, fused and unfused norms; and flops."""
    stages: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((5, 2)))
    counters = {
        "conv1x1": lambda y, x, w, b: [(0, x.nbytes + w.nbytes + y.nbytes, 1), (4, flops(y, w), 0)],
        "conv3x3": lambda y, x, w, b: [  # the bias is a kernel of its own
            (0, x.nbytes + w.nbytes + 3 * y.nbytes, 2),
            (4, flops(y, w), 0),
        ],
        "group_norm_silu": lambda y, *_: [(2, 3 * y.nbytes, 3), (3, 12 * y.nbytes, 6)],
    }
    counters["downsample3x3"] = counters["conv3x3"]
    calls = {
        modules.ResBlock: lambda y: [(1, 3 * y.nbytes, 1)],
        modules.Attention: lambda y: [(1, 3 * y.nbytes, 1)],
        modules.Upsample: lambda y: [(1, 1.25 * y.nbytes, 1)],
    }

    def counted(function: Callable[..., mx.array], count: Callable[..., list]) -> Callable:
        def call(*values: mx.array, **options: bool) -> mx.array:
            y = function(*values, **options)
            arrays = values if function.__name__ != "__call__" else ()
            for column, size, kernels in count(y, *arrays):
                stages[str(y.shape[1])][column] += (size, kernels)
            return y

        return call

    with contextlib.ExitStack() as stack:
        for name, count in counters.items():
            stack.enter_context(patch.object(modules, name, counted(getattr(modules, name), count)))
        for module, count in calls.items():
            stack.enter_context(patch.object(module, "__call__", counted(module.__call__, count)))
        run()
    return stages


def flops(y: mx.array, weight: mx.array) -> float:
    return 2 * y.size * weight.size / weight.shape[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="pairs")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--memory", action="store_true")
    what.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    if options.memory:
        memory(OFFICIAL)
    elif options.paper:
        paper(OFFICIAL)
    else:
        compare(OFFICIAL, options.repeats, options.threads)
