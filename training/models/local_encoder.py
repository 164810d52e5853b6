"""An encoder whose every code depends on its own 8x8 pixels only, inside the official architecture.

As it comes, the VQGAN's encoder mixes the whole picture into every code: group norms see its
statistics, the middle attends everywhere. Plain ground of one colour was then coded in twenty ways,
none of which a caption can tell. Here the weights make it a function of single cells:

- convolutions use the taps inside their own cell, residual branches of the `down` levels and the
  attention add nothing: down to the 8x8 grid the encoder is a linear map of a cell's pixels;
- each group of four channels holds (s, -s, C, -C) for one signal s and a large constant C. Its mean
  is zero and its variance is C^2 / 2 whatever the picture shows, so the norms only scale;
- the two residual blocks of the middle and the last activation then are a network on single cells.

`CellNetwork` is that network by itself, quick to train; `install` writes it into a VQModel.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.vqgan import VQModel

SIGNALS = 32
CONSTANT = 100.0
_GAIN = CONSTANT / 2**0.5


class PairedNorm(nn.Module):
    """What norm and activation do to signals s held as (s, -s): silu(a s + b), silu(-c s + d)."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, SIGNALS))
        self.bias = nn.Parameter(torch.zeros(2, SIGNALS))

    def forward(self, s: Tensor) -> Tensor:
        both = torch.stack((s, -s), dim=-2) * self.gain + self.bias
        return F.silu(both).flatten(-2)

    @torch.no_grad()
    def install(self, norm: nn.GroupNorm) -> None:
        weight, bias = torch.zeros(SIGNALS, 4), torch.zeros(SIGNALS, 4)
        weight[:, :2], bias[:, :2] = self.gain.T * _GAIN, self.bias.T
        norm.weight.copy_(weight.flatten())
        norm.bias.copy_(bias.flatten())


class CellBlock(nn.Module):
    """A residual block of the middle, on single cells."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = PairedNorm(), PairedNorm()
        self.linear1, self.linear2 = (nn.Linear(2 * SIGNALS, SIGNALS) for _ in range(2))
        nn.init.zeros_(self.linear2.weight)
        nn.init.zeros_(self.linear2.bias)

    def forward(self, s: Tensor) -> Tensor:
        return s + self.linear2(self.norm2(self.linear1(self.norm1(s))))


class CellNetwork(nn.Module):
    """Pixels of one cell in [-1, 1], [n, 3, 8, 8], to z [n, 32]."""

    def __init__(self, quarters: np.ndarray):
        """`quarters` are pieces of 4x4 pixels, [n, 3, 4, 4]: their 32 principal components are
        what the encoder keeps of a quarter cell."""
        super().__init__()
        flat = quarters.reshape(len(quarters), -1)
        axes = np.linalg.svd(flat.T @ flat)[0][:, :SIGNALS].T
        self.register_buffer("axes", torch.tensor(axes.copy(), dtype=torch.float32))
        self.project = nn.Linear(4 * SIGNALS, SIGNALS)
        self.blocks = nn.ModuleList((CellBlock(), CellBlock()))
        self.norm_out = PairedNorm()
        self.out = nn.Linear(2 * SIGNALS, SIGNALS)

    def forward(self, x: Tensor) -> Tensor:
        quarters = x.unfold(2, 4, 4).unfold(3, 4, 4)  # [n, 3, 2, 2, 4, 4]
        quarters = quarters.permute(0, 2, 3, 1, 4, 5).flatten(3)
        s = self.project((quarters @ self.axes.T).flatten(1))
        for block in self.blocks:
            s = block(s)
        return self.out(self.norm_out(s))


def _paired(signals: Tensor) -> Tensor:
    """[32, ...] -> [128, ...]: every signal as (s, -s, 0, 0)."""
    zero = torch.zeros_like(signals)
    return torch.stack((signals, -signals, zero, zero), dim=1).flatten(0, 1)


def _constants() -> Tensor:
    return torch.tensor([0.0, 0.0, CONSTANT, -CONSTANT]).repeat(SIGNALS)


def _spread(weight: Tensor) -> Tensor:
    """Columns for (silu of s, silu of -s) -> columns for the 128 channels."""
    first, second = weight.split(SIGNALS, dim=1)
    zero = torch.zeros_like(first)
    return torch.stack((first, second, zero, zero), dim=2).flatten(1)


@torch.no_grad()
def install(network: CellNetwork, model: VQModel) -> None:
    """Write the network into the encoder of `model` (ch 32, ch_mult 1,1,2,4, one block)."""
    encoder = model.encoder
    for parameter in (*encoder.parameters(), *model.quant_conv.parameters()):
        parameter.zero_()
    for module in encoder.modules():
        if isinstance(module, nn.GroupNorm):
            module.weight.fill_(1)
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, 1, 1] = 1
    down0, down1, down2 = (encoder.down[i].downsample.conv for i in range(3))
    for channel in range(3):
        for y in range(2):
            for x in range(2):
                down0.weight[channel * 4 + y * 2 + x, channel, y, x] = 1
    # A 4x4 quarter is 2x2 places of down0's 12 channels: pixel (2Y + y, 2X + x) of a colour.
    axes = network.axes.view(SIGNALS, 3, 2, 2, 2, 2)  # colour, Y, y, X, x
    down1.weight[:, :12, :2, :2] = axes.permute(0, 1, 3, 5, 2, 4).reshape(SIGNALS, 12, 2, 2)
    shortcut = encoder.down[2].block[0].nin_shortcut
    shortcut.weight[:SIGNALS, :, 0, 0] = torch.eye(SIGNALS)
    project = network.project.weight.view(SIGNALS, 2, 2, SIGNALS)
    down2.weight[:SIGNALS, :SIGNALS, :2, :2] = project.permute(0, 3, 1, 2)
    down2.bias[:SIGNALS] = network.project.bias
    shortcut = encoder.down[3].block[0].nin_shortcut
    shortcut.weight[:, :SIGNALS, 0, 0] = _paired(torch.eye(SIGNALS))
    shortcut.bias.copy_(_constants())
    for block, cell in zip((encoder.mid.block_1, encoder.mid.block_2), network.blocks, strict=True):
        cell.norm1.install(block.norm1)
        cell.norm2.install(block.norm2)
        block.conv1.weight[:, :, 1, 1] = _paired(_spread(cell.linear1.weight))
        block.conv1.bias.copy_(_paired(cell.linear1.bias) + _constants())
        block.conv2.weight[:, :, 1, 1] = _paired(_spread(cell.linear2.weight))
        block.conv2.bias.copy_(_paired(cell.linear2.bias))
    network.norm_out.install(encoder.norm_out)
    encoder.conv_out.weight[:, :, 1, 1] = _spread(network.out.weight)
    encoder.conv_out.bias.copy_(network.out.bias)
    model.quant_conv.weight[:, :, 0, 0] = torch.eye(SIGNALS)


def fit(
    patches: np.ndarray,
    codes: np.ndarray,
    codebook: np.ndarray,
    *,
    grounds: int,
    steps: int = 4000,
    batch: int = 2048,
    seed: int = 0,
) -> tuple[CellNetwork, Tensor]:
    """Train a CellNetwork so that the nearest code of each cell is the cell's own.

    Args:
        patches: uint8-valued float32 [n, 8, 8, 3]; codes: int64 [n]; codebook: [codes, 32], the
            start of the code vectors, which are trained along.
        grounds: the first so many codes are plain ground.

    Returns:
        The network and the code vectors.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(patches).float().permute(0, 3, 1, 2) / 127.5 - 1
    y = torch.from_numpy(codes)
    quarters = x[:4000].unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5)
    network = CellNetwork(quarters.reshape(-1, 3, 4, 4).numpy())
    book = nn.Parameter(torch.from_numpy(codebook).clone())
    optimizer = torch.optim.Adam(
        [{"params": network.parameters(), "lr": 4e-3}, {"params": [book], "lr": 2e-3}]
    )
    total = len(x)
    weights = torch.ones(total)
    weights[y < grounds] = 30.0  # few kinds of plain ground, but most of every picture
    # Neighbouring tones of a gradient differ by less than 2 of 255: noise would hide that.
    noise_level = torch.where(y < grounds, 0.005, 0.04)[:, None, None, None]
    for step in range(steps):
        scale = min(1, (step + 1) / 100) * max(0.0, 1 - step / steps)
        optimizer.param_groups[0]["lr"] = 4e-3 * scale
        optimizer.param_groups[1]["lr"] = 2e-3 * scale
        chosen = torch.multinomial(weights, batch, replacement=True)
        noise = torch.rand(batch, 1, 1, 1) ** 2 * noise_level[chosen]
        z = network(x[chosen] + noise * torch.randn(batch, 3, 8, 8))
        logits = 2 * z @ book.T - book.square().sum(-1) - z.square().sum(-1, keepdim=True)
        pull = (z - book[y[chosen]]).square().sum(-1).mean()
        loss = F.cross_entropy(4 * logits, y[chosen]) + 0.05 * pull
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % 250 == 0:
            right = (logits.argmax(-1) == y[chosen]).float().mean()
            print(f"encoder {step + 1}/{steps} loss {loss:.4f} right {right:.4f}", flush=True)
    with torch.no_grad():
        z = network(x)
        wrong = (book.square().sum(-1) - 2 * z @ book.T).argmin(-1) != y
    print(f"encoder: {int(wrong.sum())} of {total} cells get another's code", flush=True)
    return network, book.detach()
