"""The image tokenizer: pixels to codes and back.

A VQGAN (Esser et al., arXiv 2012.09841). The modules' names are the checkpoint's names, so a
converted file loads strictly; convolution weights lie in MLX's layout [out, rows, columns, in].
Activations are [B, H, W, C] float32 throughout.
"""

from __future__ import annotations

from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from liquid_mlx.config import VQGANConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.errors import ImageError
from liquid_mlx.kernels import group_norm_silu
from liquid_mlx.nn.conv import conv1x1, conv3x3, downsample3x3

GROUPS = 32
EPS = 1e-6
CHUNK = 1024  # latents compared with the codebook at a time: 32 MB of distances for 8192 codes


class Conv(nn.Module):
    """A 3x3 or 1x1 convolution that keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.weight = mx.zeros((outputs, kernel, kernel, inputs))
        self.bias = mx.zeros((outputs,))

    def __call__(self, x: mx.array) -> mx.array:
        convolve = conv1x1 if self.weight.shape[1] == 1 else conv3x3
        return convolve(x, self.weight, self.bias)


class Norm(nn.Module):
    """GroupNorm over 32 groups, with SiLU unless told otherwise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = mx.ones((channels,))
        self.bias = mx.zeros((channels,))

    def __call__(self, x: mx.array, silu: bool = True) -> mx.array:
        return group_norm_silu(x, self.weight, self.bias, GROUPS, EPS, silu=silu)


class ResBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = Norm(inputs)
        self.conv1 = Conv(inputs, outputs)
        self.norm2 = Norm(outputs)
        self.conv2 = Conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = Conv(inputs, outputs, kernel=1)
        self._silent: bool | None = None  # looked up once, when the weights are there

    @property
    def silent(self) -> bool:
        """Whether the branch adds nothing to any input: small models leave some unused."""
        if self._silent is None:
            parts = (self.conv2.bias, self.conv2.weight)
            self._silent = not any(mx.any(part).item() for part in parts)
        return self._silent

    def __call__(self, x: mx.array) -> mx.array:
        residual = self.nin_shortcut(x) if "nin_shortcut" in self else x
        if self.silent:
            return residual
        x = self.conv1(self.norm1(x))
        return residual + self.conv2(self.norm2(x))


class Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.q = Conv(channels, channels, kernel=1)
        self.k = Conv(channels, channels, kernel=1)
        self.v = Conv(channels, channels, kernel=1)
        self.proj_out = Conv(channels, channels, kernel=1)

    def __call__(self, x: mx.array) -> mx.array:
        batch, _, _, channels = x.shape
        h = self.norm(x, silu=False)
        # [B, H, W, C] -> [B, 1 head, H W, C]
        q, k, v = (f(h).reshape(batch, 1, -1, channels) for f in (self.q, self.k, self.v))
        h = mx.fast.scaled_dot_product_attention(q, k, v, scale=channels**-0.5)
        return x + self.proj_out(h.reshape(x.shape))  # [B, H, W, C]


class Resample(nn.Module):
    """Holds the convolution that follows upsampling or does the downsampling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels)


class Downsample(Resample):
    def __call__(self, x: mx.array) -> mx.array:
        return downsample3x3(x, self.conv.weight, self.conv.bias)


class Upsample(Resample):
    def __call__(self, x: mx.array) -> mx.array:
        batch, rows, columns, channels = x.shape
        shape = (batch, rows, 2, columns, 2, channels)
        x = mx.broadcast_to(x[:, :, None, :, None], shape)  # [B, H, 2, W, 2, C]
        return self.conv(x.reshape(batch, 2 * rows, 2 * columns, channels))  # [B, 2 H, 2 W, C]


class Level(nn.Module):
    """The blocks of one resolution; ``attn`` is empty where the level has no attention."""

    def __init__(self, inputs: int, outputs: int, blocks: int, attention: bool) -> None:
        super().__init__()
        self.block = [ResBlock(outputs if i else inputs, outputs) for i in range(blocks)]
        self.attn = [Attention(outputs) for _ in range(blocks if attention else 0)]

    def __call__(self, x: mx.array) -> mx.array:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return x


class Mid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.attn_1 = Attention(channels)
        self.block_2 = ResBlock(channels, channels)

    def __call__(self, x: mx.array) -> mx.array:
        return self.block_2(self.attn_1(self.block_1(x)))


def _attends(config: VQGANConfig, level: int) -> bool:
    """Whether a level has attention: by the configured resolution, not the image's."""
    return config.resolution // 2**level in config.attn_resolutions


class Encoder(nn.Module):
    """Pixels [B, H, W, 3] -> latents [B, rows, columns, z_channels]."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.ch * m for m in (1, *config.ch_mult)]
        self.conv_in = Conv(config.in_channels, config.ch)
        self.down = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            level = Level(inputs, outputs, config.num_res_blocks, _attends(config, i))
            if i < len(config.ch_mult) - 1:
                level.downsample = Downsample(outputs)
            self.down.append(level)
        self.mid = Mid(widths[-1])
        self.norm_out = Norm(widths[-1])
        self.conv_out = Conv(widths[-1], config.z_channels)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
            if "downsample" in level:
                x = level.downsample(x)
        return self.conv_out(self.norm_out(self.mid(x)))


class Decoder(nn.Module):
    """Latents [B, rows, columns, z_channels] -> pixels [B, H, W, 3]."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.ch * m for m in config.ch_mult]
        self.conv_in = Conv(config.z_channels, widths[-1])
        self.mid = Mid(widths[-1])
        self.up = []  # up[0] has the full resolution and comes last, as in the checkpoint
        for i, outputs in enumerate(widths):
            inputs = widths[min(i + 1, len(widths) - 1)]
            level = Level(inputs, outputs, config.num_res_blocks + 1, _attends(config, i))
            if i > 0:
                level.upsample = Upsample(outputs)
            self.up.append(level)
        self.norm_out = Norm(widths[0])
        self.conv_out = Conv(widths[0], config.out_ch)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
            if "upsample" in level:
                x = level.upsample(x)
        return self.conv_out(self.norm_out(x))


class Table(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = mx.zeros((rows, width))


class VectorQuantizer(nn.Module):
    """The codebook."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.embedding = Table(config.n_embed, config.embed_dim)

    def __call__(self, latents: mx.array) -> mx.array:
        """Latents [..., embed_dim] -> codes int32 [...]: the nearest row, the first of equals.

        The distances |z|^2 + |e|^2 - 2 z.e are those of the reference, terms in its order, for at
        most `CHUNK` latents at a time.
        """
        book = self.embedding.weight  # [n_embed, embed_dim]
        squares = (book * book).sum(axis=1)
        z = latents.reshape(-1, book.shape[1])  # [N, embed_dim]
        codes = []
        for start in range(0, z.shape[0], CHUNK):
            rows = z[start : start + CHUNK]
            # [up to CHUNK, n_embed]
            distances = (rows * rows).sum(axis=1, keepdims=True) + squares - 2 * (rows @ book.T)
            codes.append(distances.argmin(axis=1).astype(mx.int32))
        return mx.concatenate(codes).reshape(latents.shape[:-1])


class VQGAN(nn.Module):
    """Encoder, codebook and decoder.

    Memory grows with the batch: at 512x512 on a CPU one image takes 0.8 GB beside the weights.
    """

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.factor = config.factor
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = VectorQuantizer(config)
        self.quant_conv = Conv(config.z_channels, config.embed_dim, kernel=1)
        self.post_quant_conv = Conv(config.embed_dim, config.z_channels, kernel=1)

    def latents(self, pixels: mx.array) -> mx.array:
        """Pixels [B, H, W, 3] in -1..1 -> latents [B, rows, columns, embed_dim], not quantized.

        Raises:
            ImageError: the sides are not multiples of the downsampling factor.
        """
        _, height, width, _ = pixels.shape
        if height % self.factor or width % self.factor:
            raise ImageError(
                f"An image of {width} x {height} pixels does not divide into codes of "
                f"{self.factor} x {self.factor}: resize it first."
            )
        return self.quant_conv(self.encoder(pixels))

    def encode(self, pixels: mx.array) -> mx.array:
        """Pixels float32 [B, H, W, 3] in -1..1 -> codes int32 [B, rows, columns].

        Raises:
            ImageError: the sides are not multiples of the downsampling factor.
        """
        return self.quantize(self.latents(pixels))

    def decode(self, codes: mx.array) -> mx.array:
        """Codes [B, rows, columns], any grid -> pixels float32 [B, H, W, 3], not clamped to -1..1.

        The first rows of an unfinished image decode as a smaller image, which serves as preview.
        They differ a little from those rows of the whole: attention and norms see all pixels.
        """
        latents = self.quantize.embedding.weight[codes]  # [B, rows, columns, embed_dim]
        pixels = self.decoder(self.post_quant_conv(latents))
        if on_gpu():
            mx.eval(pixels)
            mx.clear_cache()  # gigabytes of freed buffers that nothing else has the size for
        return pixels
