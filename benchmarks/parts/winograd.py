"""What an Apple GPU's convolutions do to codes and pixels: ``python -m benchmarks.parts.winograd``.

MLX's Metal backend computes large 3x3 convolutions by Winograd's transform F(6x6, 3x3) (Lavin and
Gray, arXiv 1509.09308; mlx/backend/metal/conv.cpp), whose float32 rounds 10 to 20 times as much as
a sum of products. With TF32, which an M5 and NVIDIA GPUs take for float32 unless MLX_ENABLE_TF32 is
0, the factors have 10 bits besides. Both are imitated here, and the reference's stored codes and
pixels are compared: the small image tokenizers, and with ``--full`` the official one at 512x512.

MLX takes Winograd for 4096 pixels and 256 channels (in and out together) and more; here every 3x3
convolution whose channels are multiples of 32 does, which is worse than Metal for small ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import mlx.core as mx
import numpy as np

from liquid_mlx.config import LiquidConfig, VQGANConfig
from liquid_mlx.convert import convert
from liquid_mlx.convert.read.layout import to_mlx_layout
from liquid_mlx.images import load_pixels, to_float, to_uint8
from liquid_mlx.nn import conv, vqgan
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.weights import load_vqgan
from tests.conftest import GOLDEN
from tests.recipe import golden, recipe, weights

# The transforms of input, filter and output, as in mlx/backend/metal/kernels/conv.metal.
_INPUT = mx.array(
    [
        [1, 0, -5.25, 0, 5.25, 0, -1, 0],
        [0, 1, 1, -4.25, -4.25, 1, 1, 0],
        [0, -1, 1, 4.25, -4.25, -1, 1, 0],
        [0, 0.5, 0.25, -2.5, -1.25, 2, 1, 0],
        [0, -0.5, 0.25, 2.5, -1.25, -2, 1, 0],
        [0, 2, 4, -2.5, -5, 0.5, 1, 0],
        [0, -2, 4, 2.5, -5, -0.5, 1, 0],
        [0, -1, 0, 5.25, 0, -5.25, 0, 1],
    ]
)
_FILTER = mx.array(
    [
        [1, 0, 0],
        [-2 / 9, -2 / 9, -2 / 9],
        [-2 / 9, 2 / 9, -2 / 9],
        [1 / 90, 1 / 45, 2 / 45],
        [1 / 90, -1 / 45, 2 / 45],
        [32 / 45, 16 / 45, 8 / 45],
        [32 / 45, -16 / 45, 8 / 45],
        [0, 0, 1],
    ]
)
_OUTPUT = mx.array(
    [
        [1, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0.5, -0.5, 0],
        [0, 1, 1, 4, 4, 0.25, 0.25, 0],
        [0, 1, -1, 8, -8, 0.125, -0.125, 0],
        [0, 1, 1, 16, 16, 0.0625, 0.0625, 0],
        [0, 1, -1, 32, -32, 0.03125, -0.03125, 1],
    ]
)
Rounding = Callable[[mx.array], mx.array]


def exact(x: mx.array) -> mx.array:
    return x


def tf32(x: mx.array) -> mx.array:
    """float32 rounded to the 10 bits of TF32, nearest."""
    return ((x.view(mx.uint32) + 0x1000) & 0xFFFFE000).view(mx.float32)


def winograd(x: mx.array, weight: mx.array, bias: mx.array, rounded: Rounding) -> mx.array:
    """3x3, stride 1, padding 1, in float32: [B, H, W, C] and [O, 3, 3, C] -> [B, H, W, O]."""
    batch, height, width, channels = x.shape
    outputs = weight.shape[0]
    rows, columns = -(-height // 6), -(-width // 6)
    room = [(0, 0), (1, 6 * rows - height + 1), (1, 6 * columns - width + 1), (0, 0)]
    padded = mx.pad(x, room)
    at = (6 * mx.arange(rows)[:, None] + mx.arange(8)).reshape(-1)
    down = (6 * mx.arange(columns)[:, None] + mx.arange(8)).reshape(-1)
    tiles = padded[:, at][:, :, down].reshape(batch, rows, 8, columns, 8, channels)
    tiles = tiles.transpose(2, 4, 0, 1, 3, 5).reshape(8, 8, -1)
    seen = _both(_INPUT, tiles).reshape(64, -1, channels)  # [64, tiles, C]
    taps = weight.transpose(1, 2, 3, 0).reshape(3, 3, -1)
    filters = _both(_FILTER, taps).reshape(64, channels, outputs)
    products = (rounded(seen) @ rounded(filters)).reshape(8, 8, -1)
    out = _both(_OUTPUT, products).reshape(6, 6, batch, rows, columns, outputs)
    out = out.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 6 * rows, 6 * columns, outputs)
    y = out[:, :height, :width] + bias
    mx.eval(y)
    return y


def _both(matrix: mx.array, x: mx.array) -> mx.array:
    """matrix @ x @ matrix.T of [n, n, rest] over the first two axes."""
    once = (matrix @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])  # [m, n, rest]
    return mx.matmul(matrix, once)  # [m, m, rest]


@contextmanager
def computed(by_winograd: bool, rounded: Rounding) -> Iterator[None]:
    """Let the image tokenizer convolve in this way."""

    def three(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        if by_winograd and x.shape[-1] % 32 == 0 and weight.shape[0] % 32 == 0:
            return winograd(x, weight, bias, rounded)
        return conv.conv3x3(rounded(x), rounded(weight), bias)

    def one(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        return conv.conv1x1(rounded(x), rounded(weight), bias)

    def down(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        return conv.downsample3x3(rounded(x), rounded(weight), bias)

    with ExitStack() as stack:
        for name, stand_in in (("conv3x3", three), ("conv1x1", one), ("downsample3x3", down)):
            stack.enter_context(patch.object(vqgan, name, stand_in))
        yield


WAYS: dict[str, tuple[bool, Rounding]] = {
    "sums of products, float32": (False, exact),
    "Winograd, float32": (True, exact),
    "sums of products, TF32": (False, tf32),
    "Winograd, TF32": (True, tf32),
}


class Counts:
    """Codes and pixel values that are not the reference's."""

    def __init__(self) -> None:
        self.codes = self.wrong = self.values = self.off = self.most = 0

    def encoded(self, codes: mx.array, expected: np.ndarray) -> None:
        self.codes += expected.size
        self.wrong += int((np.array(codes).ravel() != expected.ravel()).sum())

    def decoded(self, pixels: mx.array, expected: np.ndarray) -> None:
        apart = np.abs(to_uint8(np.array(pixels)).astype(int) - expected)
        self.values += expected.size
        self.off += int((apart > 1).sum())  # 1 is what truncating to whole numbers can do
        self.most = max(self.most, int(apart.max()))

    def row(self) -> str:
        return (
            f"{self.wrong} of {self.codes} ({self.wrong / max(self.codes, 1):.2%}) | "
            f"{self.off} of {self.values} ({self.off / max(self.values, 1):.2%}) | {self.most} |"
        )


def small(name: str) -> tuple[VQGAN, list[tuple[np.ndarray, np.ndarray]], list]:
    """An image tokenizer of the golden data: model, (pixels, codes), (codes, pixels)."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        convert(GOLDEN / "gemma_tiny", target, vqgan=GOLDEN / name / "chameleon")
        model = load_vqgan(target, LiquidConfig.read(target))
        mx.eval(model.parameters())
    stored = dict(np.load(GOLDEN / name / "golden_vq.npz"))
    stems = [key.removesuffix("/pixels") for key in sorted(stored) if key.endswith("/pixels")]
    seen = [(stored[f"{stem}/pixels"], stored[f"{stem}/codes"]) for stem in stems]
    shown = []
    for key in sorted(stored):
        if key.startswith("decode/") and key.endswith("/uint8"):
            grid = tuple(map(int, key.split("/")[1].split("x")))
            shown.append((stored[key.replace("uint8", "codes")].reshape(1, *grid), stored[key]))
    return model, seen, shown


def full() -> tuple[VQGAN, list[tuple[np.ndarray, np.ndarray]], list]:
    """The official image tokenizer with the recipe's weights: a picture of 512x512 each way."""
    model = VQGAN(VQGANConfig.from_params(recipe()["vq_params"]))
    model.load_weights([(n, mx.array(to_mlx_layout(n, w))) for n, w in weights("vq").items()])
    file = "rgb_wide.png"
    pixels = load_pixels(GOLDEN / "images" / file, 512, exif=False)
    codes = golden()["t2i/codes"][0].reshape(1, 32, 32)
    return (
        model,
        [(pixels, golden()[f"encode/{file}/codes"])],
        [(codes, golden()["decode/0/uint8"])],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the official geometry at 512x512")
    models = [full()] if parser.parse_args().full else [small("vq_f16"), small("vq_attn")]
    print("| convolutions | other codes | pixel values more than 1 of 255 off | most |")
    print("|---|---|---|---|")
    for name, way in WAYS.items():
        counts = Counts()
        with computed(*way):
            for model, seen, shown in models:
                for pixels, codes in seen:
                    counts.encoded(model.encode(mx.array(to_float(pixels))[None]), codes)
                for grid, picture in shown:
                    counts.decoded(model.decode(mx.array(grid))[0], picture)
        print(f"| {name} | {counts.row()}", flush=True)


if __name__ == "__main__":
    main()
