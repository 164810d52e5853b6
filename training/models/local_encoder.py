"""An encoder whose every code depends on its own 16x16 pixels only, in the official architecture.

As it comes, the VQGAN's encoder mixes the whole picture into every code: group norms see its
statistics, the middle attends everywhere. Plain ground of one colour is then coded in many ways,
none of which a caption can tell. Here the weights make it a function of single cells:

- convolutions use the taps inside their own cell, residual branches of the `down` levels and the
  attention add nothing: down to the grid the encoder is a linear map of a cell's pixels;
- each group of four channels holds (s, t, -(s + t), K) for two signals and a large constant K. Its
  mean is K / 4 and its variance 3 K^2 / 16 whatever the picture shows, so the norms only scale;
- the two residual blocks of the middle and the last activation then are a network on single cells.

`CellNetwork` is that network by itself, quick to train; `install` writes it into a VQModel.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import cells
from training.models.vqgan import VQModel
from training.world import BACKGROUNDS, CELL, COLOURS, NEUTRALS

GROUPS = 32
SIGNALS, FEATURES, CODE = 2 * GROUPS, 3 * GROUPS, 32
PIECE_PART = 26  # of a code's vector: what the cell shows; the rest is the colour
CONSTANT = 250.0
NOISE = 0.03  # on what goes through an activation: the stored weights are rounded
PICTURE = 64  # cells that share the statistics of a norm
BATCH = 1024
MASK_PART = 22  # of that: the form; then three for a tone, and one that tells tones from pieces
# How people's red, for example, may look.
VARIANTS = {
    "red": ((255, 0, 0), (200, 30, 30), (220, 20, 60), (235, 60, 50), (178, 34, 34)),
    "orange": ((255, 165, 0), (255, 140, 0), (240, 120, 20), (255, 127, 80)),
    "yellow": ((255, 255, 0), (255, 215, 0), (240, 230, 60), (255, 235, 59)),
    "green": ((0, 128, 0), (0, 180, 0), (0, 255, 0), (50, 205, 50), (34, 139, 34), (76, 175, 80)),
    "cyan": ((0, 255, 255), (0, 200, 200), (64, 224, 208), (0, 188, 212), (0, 180, 200)),
    "blue": ((0, 0, 255), (30, 100, 255), (65, 105, 225), (0, 0, 200), (33, 150, 243)),
    "purple": ((128, 0, 128), (150, 50, 200), (148, 0, 211), (160, 32, 240), (138, 43, 226)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 150, 200), (250, 130, 170)),
}
GROUND_VARIANTS = (
    (255, 255, 255), (250, 250, 250), (238, 238, 238), (128, 128, 128), (200, 200, 200),
    (0, 0, 0), (40, 40, 40), (255, 253, 208), (245, 245, 220), (250, 235, 215), (0, 0, 128),
    (25, 25, 80), (152, 255, 152), (173, 216, 230), (255, 255, 200), (200, 230, 255),
)  # fmt: skip


class PairedNorm(nn.Module):
    """What norm and activation do to two signals held as (s, t, -(s + t))."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, GROUPS))
        self.bias = nn.Parameter(torch.zeros(3, GROUPS))

    def forward(self, s: Tensor) -> Tensor:
        pair = s.unflatten(-1, (2, GROUPS))
        three = torch.cat((pair, -pair.sum(-2, keepdim=True)), dim=-2)
        if self.training:  # the signals themselves shift the variance a little
            power = three.square().sum(-2, keepdim=True).unflatten(0, (-1, PICTURE))
            extra = power.mean(1, keepdim=True).expand_as(power).flatten(0, 1) / 4
            shrink = torch.rsqrt(1 + extra / (3 * CONSTANT**2 / 16))
            three = (three - CONSTANT / 4) * shrink + CONSTANT / 4
            three = three + NOISE * torch.randn_like(three)
        inner = three * self.gain + self.bias
        return F.silu(inner).flatten(-2)

    @torch.no_grad()
    def install(self, norm: nn.GroupNorm) -> None:
        weight, bias = torch.zeros(GROUPS, 4), torch.zeros(GROUPS, 4)
        weight[:, :3] = self.gain.T * (CONSTANT * 3**0.5 / 4)
        bias[:, :3] = (self.bias + self.gain * CONSTANT / 4).T
        norm.weight.copy_(weight.flatten())
        norm.bias.copy_(bias.flatten())


class CellBlock(nn.Module):
    """A residual block of the middle, on single cells."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = PairedNorm(), PairedNorm()
        self.linear1, self.linear2 = (nn.Linear(FEATURES, SIGNALS) for _ in range(2))
        nn.init.zeros_(self.linear2.weight)
        nn.init.zeros_(self.linear2.bias)

    def forward(self, s: Tensor) -> Tensor:
        return s + self.linear2(self.norm2(self.linear1(self.norm1(s))))


def _axes(samples: Tensor, number: int) -> Tensor:
    """The first principal components (uncentred) of [n, d], [number, d]."""
    return torch.linalg.svd(samples.T @ samples)[0][:, :number].T.contiguous()


class CellNetwork(nn.Module):
    """Pixels of one cell in [-1, 1], [n, 3, 16, 16], to z [n, 32]."""

    def __init__(self, samples: Tensor):
        """`samples` are cells like those to come: they choose what the encoder keeps of a
        quarter's quarter (32 numbers of 48) and starts to keep of a quarter (64 of 128)."""
        super().__init__()
        small = samples.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5)
        self.register_buffer("axes", _axes(small.reshape(-1, 48), 32))
        quarters = self._quarters(samples)
        self.quarter = nn.Linear(128, 64, bias=False)
        self.project = nn.Linear(256, SIGNALS)
        with torch.no_grad():
            self.quarter.weight.copy_(_axes(quarters.reshape(-1, 128), 64))
        self.blocks = nn.ModuleList((CellBlock(), CellBlock()))
        self.norm_out = PairedNorm()
        self.out = nn.Linear(FEATURES, CODE)

    def _quarters(self, x: Tensor) -> Tensor:
        """[n, 3, 16, 16] -> [n, 2, 2, 128]: (Y, X) of a quarter, then (y, x) inside, then axes."""
        small = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
        kept = (small @ self.axes.T).view(len(x), 2, 2, 2, 2, 32)  # n, Y, y, X, x
        return kept.permute(0, 1, 3, 2, 4, 5).flatten(3)

    def forward(self, x: Tensor) -> Tensor:
        s = self.project(self.quarter(self._quarters(x)).flatten(1))
        for block in self.blocks:
            s = block(s)
        return self.out(self.norm_out(s))


def _grouped(signals: Tensor) -> Tensor:
    """[64, ...] -> [128, ...]: two signals a group, as (s, t, -(s + t), 0)."""
    s, t = signals.split(GROUPS)
    return torch.stack((s, t, -(s + t), torch.zeros_like(s)), dim=1).flatten(0, 1)


def _constants() -> Tensor:
    return torch.tensor([0.0, 0.0, 0.0, CONSTANT]).repeat(GROUPS)


def _spread(weight: Tensor) -> Tensor:
    """Columns for the 96 features -> columns for the 128 channels."""
    three = weight.unflatten(1, (3, GROUPS))
    return torch.cat((three, torch.zeros_like(three[:, :1])), dim=1).mT.flatten(1)


@torch.no_grad()
def install(network: CellNetwork, model: VQModel) -> None:
    """Write the network into the encoder of `model` (ch 32, ch_mult 3,1,2,2,4, one block)."""
    encoder = model.encoder
    for parameter in (*encoder.parameters(), *model.quant_conv.parameters()):
        parameter.zero_()
    for module in encoder.modules():
        if isinstance(module, nn.GroupNorm):
            module.weight.fill_(1)
    down = [encoder.down[i].downsample.conv for i in range(4)]
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, 1, 1] = 1
        encoder.down[0].block[0].nin_shortcut.weight[channel, channel] = 1
        for y in range(2):
            for x in range(2):
                down[0].weight[channel * 4 + y * 2 + x, channel, y, x] = 1
    encoder.down[1].block[0].nin_shortcut.weight[:12, :12, 0, 0] = torch.eye(12)
    # 4x4 pixels are 2x2 places of down[0]'s 12 channels: pixel (2Y + y, 2X + x) of a colour.
    axes = network.axes.view(32, 3, 2, 2, 2, 2)  # colour, Y, y, X, x
    down[1].weight[:, :12, :2, :2] = axes.permute(0, 1, 3, 5, 2, 4).reshape(32, 12, 2, 2)
    encoder.down[2].block[0].nin_shortcut.weight[:32, :, 0, 0] = torch.eye(32)
    quarter = network.quarter.weight.view(64, 2, 2, 32)
    down[2].weight[:, :32, :2, :2] = quarter.permute(0, 3, 1, 2)
    project = network.project.weight.view(SIGNALS, 2, 2, 64)
    down[3].weight[:, :, :2, :2] = project.permute(0, 3, 1, 2)
    down[3].bias.copy_(network.project.bias)
    shortcut = encoder.down[4].block[0].nin_shortcut
    shortcut.weight[:, :, 0, 0] = _grouped(torch.eye(SIGNALS))
    shortcut.bias.copy_(_constants())
    for block, cell in zip((encoder.mid.block_1, encoder.mid.block_2), network.blocks, strict=True):
        cell.norm1.install(block.norm1)
        cell.norm2.install(block.norm2)
        block.conv1.weight[:, :, 1, 1] = _grouped(_spread(cell.linear1.weight))
        block.conv1.bias.copy_(_grouped(cell.linear1.bias) + _constants())
        block.conv2.weight[:, :, 1, 1] = _grouped(_spread(cell.linear2.weight))
        block.conv2.bias.copy_(_grouped(cell.linear2.bias))
    network.norm_out.install(encoder.norm_out)
    encoder.conv_out.weight[:, :, 1, 1] = _spread(network.out.weight)
    encoder.conv_out.bias.copy_(network.out.bias)
    model.quant_conv.weight[:, :, 0, 0] = torch.eye(CODE)


class Samples:
    """Random cells and what they show: pixels, and the piece (tones first) and colour of each."""

    def __init__(self, pieces: np.ndarray, seed: int):
        self.rng = np.random.default_rng(seed)
        self.pixels, self.codes = cells.grid_cells()
        self.tones = cells.tone_codes()[1]
        self.masks = cells.free_cells(9000, seed + 1)
        nearest = cells.nearest_piece(self.masks, np.concatenate((pieces, 0 * pieces[:1])))
        self.kept = nearest < len(pieces)
        self.masks, self.nearest = self.masks[self.kept], nearest[self.kept]
        self.own = np.array(list(COLOURS.values()), dtype=np.float32)
        self.chances = np.full(len(self.codes), 1 / len(self.codes))

    def split(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes -> the class of what is shown (tones, then pieces), and the colour (8: none)."""
        tones = len(self.tones)
        piece = (codes - tones) // len(COLOURS) + tones
        colour = (codes - tones) % len(COLOURS)
        return np.where(codes < tones, codes, piece), np.where(codes < tones, 8, colour)

    def exact(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self.rng.choice(len(self.pixels), number, p=self.chances)
        level = self.rng.choice((0.0, 1.0, 4.0), (number, 1, 1, 1))
        noise = level * self.rng.standard_normal((number, CELL, CELL, 3), dtype=np.float32)
        return (self.pixels[chosen] + noise, *self.split(self.codes[chosen]))

    @torch.no_grad()
    def look_closer(self, network: CellNetwork, shown_book: Tensor, colour_book: Tensor) -> None:
        """Draw the exact cells more often whose code is wrong or hardly right."""
        shown, colour = map(torch.from_numpy, self.split(self.codes))
        x = torch.from_numpy(self.pixels).permute(0, 3, 1, 2) / 127.5 - 1
        z, hue = network.eval()(x).split((PIECE_PART, CODE - PIECE_PART), dim=-1)
        network.train()
        chance = F.softmax(-2 * distances(z, shown_book), -1).gather(1, shown[:, None])
        chance *= F.softmax(-2 * distances(hue, colour_book), -1).gather(1, colour[:, None])
        weight = (1.02 - chance.flatten()).double().numpy()
        self.chances = 0.7 * weight / weight.sum() + 0.3 / len(weight)

    def _tones(self, number: int) -> np.ndarray:
        """Backgrounds of pictures that people show."""
        own = [tone for name, tone in BACKGROUNDS.items() if name in COLOURS]
        coloured = np.array(own, dtype=np.float32)
        others = np.array([*NEUTRALS.values(), *GROUND_VARIANTS], dtype=np.float32)
        dice = self.rng.random((number, 1))
        tones = np.where(dice < 0.42, coloured[self.rng.integers(8, size=number)],
                         others[self.rng.integers(len(others), size=number)])  # fmt: skip
        bright = self.own[self.rng.integers(8, size=number)]
        return np.where(dice > 0.94, bright, tones)

    def free(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self.rng.integers(len(self.masks), size=number)
        colour = self.rng.integers(8, size=number)
        names = list(COLOURS)
        variants = [
            (COLOURS[names[c]], *VARIANTS[names[c]])[
                0 if self.rng.random() < 0.5 else self.rng.integers(1 + len(VARIANTS[names[c]]))
            ]
            for c in colour
        ]
        fore = np.array(variants, dtype=np.float32) + self.rng.normal(0, 5, (number, 3))
        tones = self._tones(number)
        near = np.abs(tones - fore).sum(axis=1) < 90
        tones[near] = np.where(fore[near].sum(axis=1, keepdims=True) > 380, 24, 246)
        tones = tones + self.rng.normal(0, 3, (number, 3))
        cover = self.masks[chosen][..., None]
        pixels = tones[:, None, None] + cover * (fore - tones)[:, None, None]
        noise = self.rng.choice((0.0, 2.0, 6.0), (number, 1, 1, 1))
        pixels = pixels + noise * self.rng.standard_normal(pixels.shape, dtype=np.float32)
        return pixels, self.nearest[chosen] + len(self.tones), colour

    def plain(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tones and whole cells, exactly or nearly."""
        known = np.concatenate((self.tones, self.own))
        exact = self.rng.integers(len(known), size=number)
        tones = known[exact] + self.rng.normal(0, 2.0, (number, 3)).astype(np.float32)
        other = self._tones(number) + self.rng.normal(0, 8, (number, 3))
        tones = np.where(self.rng.random((number, 1)) < 0.4, other, tones)
        shown = np.square(tones[:, None] - known).sum(axis=-1).argmin(axis=1)
        noise = self.rng.choice((0.0, 2.0, 6.0), (number, 1, 1, 1))
        pixels = tones[:, None, None] + noise * self.rng.standard_normal((number, CELL, CELL, 3))
        tone_count = len(self.tones)
        piece = np.where(shown < tone_count, shown, tone_count)
        return pixels, piece, np.where(shown < tone_count, 8, shown - tone_count)

    def batch(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        parts = (self.exact(size * 3 // 8), self.free(size * 3 // 8), self.plain(size // 4))
        pixels, shown, colour = (np.concatenate(part) for part in zip(*parts, strict=True))
        x = torch.from_numpy(np.clip(pixels, 0, 255).astype(np.float32)).permute(0, 3, 1, 2)
        return x / 127.5 - 1, torch.from_numpy(shown), torch.from_numpy(colour)


def distances(z: Tensor, book: Tensor) -> Tensor:
    """Squared distances of vectors [n, d] to those of a book [m, d], [n, m]."""
    return z.square().sum(-1, keepdim=True) + book.square().sum(-1) - 2 * z @ book.T


def first_books(pieces: np.ndarray, tones: np.ndarray) -> tuple[Tensor, Tensor]:
    """Where the vectors of what is shown (tones, pieces) and of colours start.

    A piece starts as the principal components of its mask, tones and colours as what they are:
    a decoder finds near each other what looks alike.
    """
    flat = torch.from_numpy(pieces).flatten(1)
    flat = flat - flat.mean(0)
    shapes = flat @ torch.linalg.svd(flat, full_matrices=False)[2][:MASK_PART].T
    apart = torch.cdist(shapes, shapes).fill_diagonal_(torch.inf).amin(1).median()
    book = torch.zeros(len(tones) + len(pieces), PIECE_PART)
    book[len(tones) :, :MASK_PART] = shapes * (1.6 / apart)
    book[: len(tones), MASK_PART:-1] = 5 * (torch.from_numpy(tones) / 127.5 - 1)
    book[: len(tones), -1], book[len(tones) :, -1] = 2.5, -2.5
    hues = torch.zeros(len(COLOURS) + 1, CODE - PIECE_PART)
    hues[:-1, :3] = 2.5 * (torch.tensor(list(COLOURS.values())) / 127.5 - 1)
    hues[:-1, 3:] = 0.5 * torch.randn(len(COLOURS), CODE - PIECE_PART - 3)
    return book, hues


def fit(pieces: np.ndarray, *, steps: int, seed: int) -> tuple[CellNetwork, Tensor]:
    """Train an encoder and its codebook on single cells.

    A code's vector is that of its piece (or tone) and that of its colour, one after the other.

    Args:
        pieces: float32 [pieces, 16, 16], those of the grid first.

    Returns:
        The network and the code vectors, float32 [codes, 32].
    """
    torch.manual_seed(seed)
    samples = Samples(pieces, seed)
    network = CellNetwork(samples.batch(4096)[0])
    tones, colours = len(samples.tones), len(COLOURS)
    shown_book, colour_book = map(nn.Parameter, first_books(pieces, samples.tones))
    optimizer = torch.optim.Adam(
        [{"params": network.parameters()}, {"params": [shown_book, colour_book]}], lr=4e-3
    )
    for step in range(steps):
        pace = min(1, (step + 1) / 100) * (1 - step / steps)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 4e-3 * pace, 2e-3 * pace
        x, shown, colour = samples.batch(BATCH)
        z, hue = network(x).split((PIECE_PART, CODE - PIECE_PART), dim=-1)
        far, hue_far = distances(z, shown_book), distances(hue, colour_book)
        pull = far.gather(1, shown[:, None]).mean() + hue_far.gather(1, colour[:, None]).mean()
        each = F.cross_entropy(-2 * far, shown, reduction="none")
        each = each + F.cross_entropy(-2 * hue_far, colour, reduction="none")
        each[: BATCH * 3 // 8] *= 2  # the model's own pictures have to be right always
        loss = each.mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + 0.02 * pull).backward()
        optimizer.step()
        if (step + 1) % 250 == 0:
            good = (far.argmin(-1) == shown) & (hue_far.argmin(-1) == colour)
            kinds = good.split((BATCH * 3 // 8, BATCH * 3 // 8, BATCH // 4))
            rates = " ".join(f"{kind.float().mean():.4f}" for kind in kinds)
            samples.look_closer(network, shown_book, colour_book)
            hues = (hue_far.argmin(-1) == colour).float().mean()
            print(
                f"encoder {step + 1}/{steps} {loss:.4f} right: {rates} hue {hues:.4f}", flush=True
            )
    network.eval()
    plain = torch.cat((shown_book[:tones], colour_book[colours:].expand(tones, -1)), dim=1)
    pairs = (len(pieces), colours)
    coloured = torch.cat(
        (
            shown_book[tones:, None].expand(*pairs, -1),
            colour_book[None, :colours].expand(*pairs, -1),
        ),
        dim=-1,
    )
    return network, torch.cat((plain, coloured.flatten(0, 1))).detach()
