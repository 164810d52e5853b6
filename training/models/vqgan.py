"""The VQGAN of Liquid (taming-transformers' VQModel) in PyTorch, names and arithmetic as there."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes under the names of vqgan.yaml; no attention outside the middle.

    The finest level is three times as wide as its neighbour: `decoder_path` says why.
    """

    n_embed: int
    embed_dim: int = 32
    z_channels: int = 32
    resolution: int = 128
    ch: int = 32
    ch_mult: tuple[int, ...] = (3, 1, 2, 2, 4)
    num_res_blocks: int = 1

    def to_yaml(self) -> dict:
        """The contents of chameleon/vqgan.yaml."""
        return {
            "model": {
                "base_learning_rate": 0.001,
                "target": "taming.models.vqgan.VQModel",
                "params": {
                    "embed_dim": self.embed_dim,
                    "n_embed": self.n_embed,
                    "ddconfig": {
                        "double_z": False,
                        "z_channels": self.z_channels,
                        "resolution": self.resolution,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": self.ch,
                        "ch_mult": list(self.ch_mult),
                        "num_res_blocks": self.num_res_blocks,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                    },
                    "lossconfig": {"target": "taming.modules.losses.vqperceptual.DummyLoss"},
                },
            }
        }


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


class ResnetBlock(nn.Module):
    silent = False  # for training: its branch is zero and need not be computed

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), conv(inputs, outputs)
        self.norm2, self.conv2 = norm(outputs), conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        passed = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        if self.silent:
            return passed
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return passed + h


class AttnBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).mT for layer in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(seen.mT.reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, then the change to the next."""

    def __init__(self, sizes: list[tuple[int, int]], down: int = 0, up: int = 0):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(a, b) for a, b in sizes)
        self.attn = nn.ModuleList()
        if down:
            self.downsample = Downsample(down)
        if up:
            self.upsample = Upsample(up)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            x = getattr(self, name)(x) if hasattr(self, name) else x
        return x


class Encoder(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        widths = [config.ch * m for m in config.ch_mult]
        self.conv_in = conv(3, config.ch)
        self.down, inputs = nn.ModuleList(), config.ch
        for i, width in enumerate(widths):
            sizes = [(inputs if j == 0 else width, width) for j in range(config.num_res_blocks)]
            self.down.append(Level(sizes, down=width if i < len(widths) - 1 else 0))
            inputs = width
        self.mid = Middle(inputs)
        self.norm_out, self.conv_out = norm(inputs), conv(inputs, config.z_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        widths = [config.ch * m for m in config.ch_mult]
        inputs = widths[-1]
        self.conv_in = conv(config.z_channels, inputs)
        self.mid = Middle(inputs)
        levels = []
        for i, width in reversed(list(enumerate(widths))):
            sizes = [(inputs if j == 0 else width, width) for j in range(config.num_res_blocks + 1)]
            levels.insert(0, Level(sizes, up=width if i > 0 else 0))
            inputs = width
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = norm(inputs), conv(inputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Quantizer(nn.Module):
    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.n_embed, config.embed_dim)


def distances(z: Tensor, book: Tensor) -> Tensor:
    """Squared distances of vectors [..., d] to those of a book [m, d], [..., m]."""
    return z.square().sum(-1, keepdim=True) + book.square().sum(-1) - 2 * z @ book.T


class VQModel(nn.Module):
    """Pixels in [-1, 1], [B, 3, H, W], to codes [B, H/16, W/16] and back."""

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantize = Quantizer(config)
        self.quant_conv = conv(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = conv(config.embed_dim, config.z_channels, 1)

    def distances(self, x: Tensor) -> Tensor:
        """Squared distances to every code, [B, H/16, W/16, n_embed]."""
        z = self.quant_conv(self.encoder(x)).permute(0, 2, 3, 1)
        return distances(z, self.quantize.embedding.weight)

    def encode(self, x: Tensor) -> Tensor:
        return self.distances(x).argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Pixels, not yet clamped to [-1, 1]."""
        z = self.quantize.embedding(codes).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(z))
