"""The VQGAN's encoder, taught to name what each cell of a picture shows.

As it comes, a VQGAN's encoder is free to code one and the same thing in many ways, none of which a
caption can tell. Here it is a classifier: `cells` says which code every cell of a picture should
get, and the codebook's vectors are its classes, the nearest one being the likeliest. A code's
vector is that of its piece (or tone) and that of its colour, one after the other.

Down to four pixels a place the official architecture is made a linear map, which is the `stem`:
full resolution would take most of the time and sees nothing that matters. What follows is trained
as it is.
"""

import random
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import cells, shown
from training.models import vqgan
from training.models.muon import Muon
from training.models.vqgan import distances
from training.scenes import random_scene, scattered_scene
from training.world import COLOURS, SHAPES, cover, cover_of, render

CODE, PIECE_PART = 32, 26  # numbers of a code's vector; of those what the cell shows
MASK_PART = 22  # of that: the form; then three for a tone, and one that tells tones from pieces
STEM = 32  # numbers that are kept of 4x4 pixels
STEPS, REPORT_EVERY = 2600, 50
MUON_RATE, ADAM_RATE, WARM_UP = 0.015, 3e-3, 50
# Pictures of a batch: own scenes, own things in other cells, shapes anywhere, unknown shapes.
MIX = (8, 4, 18, 3)
OWN = MIX[0] + MIX[1]
FREE = slice(OWN, OWN + MIX[2])
OWN_WEIGHT = 2.0  # the model's own pictures have to be right always
SHAPE_WEIGHT = 0.3  # on what matters most of a shape anywhere
# Later, with the codebook as it is: small things, of which the most are misread.
LATE_STEPS, LATE_RATE, LATE_SMALL = 1500, 0.5, 0.6


class Encoder(nn.Module):
    """The encoder of the bundled VQGAN with its first two levels as one convolution."""

    def __init__(self) -> None:
        super().__init__()
        official = vqgan.Encoder(vqgan.VQGANConfig(n_embed=1))
        self.stem = nn.Conv2d(3, STEM, 4, stride=4)
        self.down = official.down[2:]
        self.mid, self.norm_out, self.conv_out = official.mid, official.norm_out, official.conv_out

    def forward(self, x: Tensor) -> Tensor:
        """Pixels in [-1, 1], [B, 3, H, W], to z [B, H/16, W/16, 32]."""
        h = self.stem(x)
        for level in self.down:
            h = level(h)
        h = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return h.permute(0, 2, 3, 1)


@torch.no_grad()
def install(network: Encoder, model: vqgan.VQModel) -> None:
    """Write the network into the encoder of `model`, the stem into its first two levels."""
    encoder, stem = model.encoder, network.stem
    encoder.down[2:].load_state_dict(network.down.state_dict())
    for name in ("mid", "norm_out", "conv_out"):
        getattr(encoder, name).load_state_dict(getattr(network, name).state_dict())
    first, second = encoder.down[0], encoder.down[1]
    for module in (encoder.conv_in, first, second, model.quant_conv):
        for name, parameter in module.named_parameters():
            parameter.fill_(1 if "norm" in name and name.endswith("weight") else 0)
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, 1, 1] = 1
        first.block[0].nin_shortcut.weight[channel, channel] = 1
        for y in range(2):
            for x in range(2):
                first.downsample.conv.weight[channel * 4 + y * 2 + x, channel, y, x] = 1
    second.block[0].nin_shortcut.weight[:12, :12, 0, 0] = torch.eye(12)
    # 4x4 pixels are 2x2 places of 12 channels: pixel (2Y + y, 2X + x) of a colour.
    taps = stem.weight.view(STEM, 3, 2, 2, 2, 2)  # colour, Y, y, X, x
    second.downsample.conv.weight[:, :12, :2, :2] = taps.permute(0, 1, 3, 5, 2, 4).reshape(
        STEM, 12, 2, 2
    )
    second.downsample.conv.bias.copy_(stem.bias)
    model.quant_conv.weight[:, :, 0, 0] = torch.eye(CODE)


def first_books(pieces: np.ndarray, tones: np.ndarray) -> tuple[Tensor, Tensor]:
    """Where the vectors of what is shown (tones, pieces) and of colours start.

    A piece starts as the principal components of its mask, tones and colours as what they are:
    a decoder finds near each other what looks alike.
    """
    flat = torch.from_numpy(pieces).flatten(1)
    flat = flat - flat.mean(0)
    forms = flat @ torch.linalg.svd(flat, full_matrices=False)[2][:MASK_PART].T
    apart = torch.cdist(forms, forms).fill_diagonal_(torch.inf).amin(1).median()
    book = torch.zeros(len(tones) + len(pieces), PIECE_PART)
    book[len(tones) :, :MASK_PART] = forms * (1.6 / apart)
    book[: len(tones), MASK_PART:-1] = 5 * (torch.from_numpy(tones) / 127.5 - 1)
    book[: len(tones), -1], book[len(tones) :, -1] = 2.5, -2.5
    book[len(tones) :] += 0.3 * torch.randn(len(pieces), PIECE_PART)  # alike in several shapes
    hues = torch.zeros(len(COLOURS) + 1, CODE - PIECE_PART)
    hues[:-1, :3] = 2.5 * (torch.tensor(list(COLOURS.values())) / 127.5 - 1)
    hues[:-1, 3:] = 0.5 * torch.randn(len(COLOURS), CODE - PIECE_PART - 3)
    return book, hues


def _stranger(rng: random.Random, size: int) -> np.ndarray:
    """How much of each pixel some shape covers that is none of the world's."""
    polygons = []
    middle = np.array([rng.uniform(24, size - 24) for _ in range(2)])
    reach = rng.uniform(12, 34)
    for _ in range(rng.choice((1, 1, 2))):
        corners = rng.choice((3, 4, 4, 5, 6, 7, 24))
        turns = (np.arange(corners) + rng.random()) * 2 * np.pi / corners
        radii = np.array([rng.uniform(0.4, 1) if corners < 24 else 1 for _ in range(corners)])
        points = np.stack((np.cos(turns), np.sin(turns)), axis=1) * radii[:, None] * reach
        polygons.append(points * (rng.uniform(0.3, 1), rng.uniform(0.3, 1)) + middle)
        middle = middle + [rng.uniform(-0.7, 0.7) * reach for _ in range(2)]
    return cover_of([(polygon, 255) for polygon in polygons], size, size)


def _labelled(kind: int, rng: random.Random, small: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [128, 128, 3] and its codes int64 [8, 8]; `kind` as in `MIX`, and `small` as
    in `shown.free_scene`."""
    if kind < 2:
        count = rng.choices(range(5), (4, 26, 34, 22, 14))[0]
        scene = (random_scene if kind == 0 else scattered_scene)(rng, count=count)
        picture = render(scene)
        if rng.random() < 0.25:
            picture = shown.handled(picture, rng)
        return picture, cells.scene_codes(scene)
    scene, side = shown.free_scene(rng, small=small), shown.SIDE
    ground = scene.picture(empty=True)
    if kind == 3:
        covered, name = _stranger(rng, side), rng.choice(list(COLOURS))
        tone = np.array(rng.choice((COLOURS[name], *shown.VARIANTS[name])))
        ground = ground[:, :side]
        picture = np.rint(ground + covered[..., None] * (tone - ground)).astype(np.uint8)
        return shown.handled(picture, rng), cells.seen_codes([covered], [""], [name], ground)
    things = scene.squared
    covers, shapes = [cover(t, side, side) for t in things], [t.shape for t in things]
    ground = ground if scene.width == side else shown.squared(ground)
    picture = shown.handled(scene.picture(), rng)
    return picture, cells.seen_codes(covers, shapes, scene.names, ground)


class Pictures(torch.utils.data.IterableDataset):
    """Endless batches: pixels uint8 [B, 128, 128, 3] and codes int64 [B, 8, 8]."""

    def __init__(self, seed: int, small: float):
        self.seed, self.small = seed, small

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(self.seed + 7919 * (worker.id if worker else 0))
        noisy = np.random.default_rng(rng.getrandbits(32))
        while True:
            kinds = [kind for kind, number in enumerate(MIX) for _ in range(number)]
            made = [_labelled(kind, rng, self.small) for kind in kinds]
            pixels, codes = (np.stack(part) for part in zip(*made, strict=True))
            level = noisy.choice((0.0, 0.0, 1.0, 4.0), (OWN, 1, 1, 1))
            noise = level * noisy.standard_normal(pixels[:OWN].shape, dtype=np.float32)
            pixels[:OWN] = np.clip(pixels[:OWN] + noise, 0, 255)
            yield torch.from_numpy(pixels), torch.from_numpy(codes)


def split(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes -> the class of what is shown (tones, then pieces), and the colour (8: none)."""
    tones, colours = len(cells.tone_codes()[1]), len(COLOURS)
    piece, colour = (codes - tones) // colours + tones, (codes - tones) % colours
    return torch.where(codes < tones, codes, piece), torch.where(codes < tones, colours, colour)


def joined(shown_book: Tensor, colour_book: Tensor) -> Tensor:
    """The codebook, [codes, 32]."""
    tones, colours = len(cells.tone_codes()[1]), len(COLOURS)
    plain = torch.cat((shown_book[:tones], colour_book[colours:].expand(tones, -1)), dim=1)
    pieces = shown_book[tones:]
    pairs = (len(pieces), colours, -1)
    coloured = (pieces[:, None].expand(pairs), colour_book[None, :colours].expand(pairs))
    return torch.cat((plain, torch.cat(coloured, dim=-1).flatten(0, 1)))


def apart(book: Tensor) -> tuple[Tensor, Tensor]:
    """The two books that were joined."""
    tones, colours = len(cells.tone_codes()[1]), len(COLOURS)
    pairs = book[tones:].unflatten(0, (-1, colours))
    shown_book = torch.cat((book[:tones, :PIECE_PART], pairs[:, 0, :PIECE_PART]))
    return shown_book, torch.cat((pairs[0, :, PIECE_PART:], book[:1, PIECE_PART:]))


def fit(*, steps: int, seed: int) -> tuple[Encoder, Tensor]:
    """Train an encoder and its codebook, [codes, 32]."""
    torch.manual_seed(seed)
    network = Encoder().to(memory_format=torch.channels_last)
    books = first_books(cells.pieces(), cells.tone_codes()[1])
    shown_book, colour_book = map(nn.Parameter, books)
    _fit(network, shown_book, colour_book, steps, seed, pace=1.0, small=0.0)
    return network.eval(), joined(shown_book, colour_book).detach()


def refine(network: Encoder, book: Tensor, *, steps: int, seed: int) -> None:
    """Go on with an encoder, mostly on small things; the codebook [codes, 32] stays."""
    network.train()
    _fit(network, *apart(book), steps, seed, pace=LATE_RATE, small=LATE_SMALL)
    network.eval()


def _fit(
    encoder: Encoder, shown_book: Tensor, colour_book: Tensor, steps: int, seed: int,
    *, pace: float, small: float,
) -> None:  # fmt: skip
    """Train in place what asks for gradients, at a share `pace` of the rates."""
    inner = [p for p in encoder.parameters() if p.dim() == 4]
    outer = [p for p in encoder.parameters() if p.dim() != 4]
    books = [book for book in (shown_book, colour_book) if book.requires_grad]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(inner, MUON_RATE, decay=0.01),
        torch.optim.Adam([*outer, *books], ADAM_RATE, betas=(0.9, 0.98)),
    ]
    batches = iter(torch.utils.data.DataLoader(Pictures(seed, small), None, num_workers=1))
    shares = []
    for step in range(steps):
        rate = pace * min(1, (step + 1) / WARM_UP, 1.25 * (1 - step / steps))
        for optimizer, top in zip(optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            optimizer.param_groups[0]["lr"] = top * rate
            optimizer.zero_grad(set_to_none=True)
        pixels, codes = next(batches)
        # Channels stay last in memory, which is faster.
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        piece, colour = split(codes)
        z, hue = encoder(x).split((PIECE_PART, CODE - PIECE_PART), dim=-1)
        far, hue_far = distances(z, shown_book), distances(hue, colour_book)
        each, near = torch.zeros(codes.shape), torch.zeros(())
        for gaps, true in ((far, piece), (hue_far, colour)):
            near = near + gaps.gather(-1, true[..., None]).mean()
            lost = F.cross_entropy(-2 * gaps.flatten(0, 2), true.flatten(), reduction="none")
            each = each + lost.view(codes.shape)
        loss = OWN_WEIGHT * each[:OWN].mean() + each[OWN:].mean() + 0.02 * near
        loss = loss + SHAPE_WEIGHT * shape_loss(far[FREE], piece[FREE])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        shares.append(_right(far.argmin(-1), hue_far.argmin(-1), piece, colour))
        if (step + 1) % REPORT_EVERY == 0:
            said = " ".join(f"{s:.4f}" for s in np.mean(shares[-REPORT_EVERY:], axis=0))
            print(f"encoder {step + 1}/{steps} {loss.item():.3f} right: {said}", flush=True)


@cache
def free_shapes() -> Tensor:
    """Of each class of what is shown (tones, pieces) the shape that it alone is part of, or -1."""
    tones, grid = len(cells.tone_codes()[1]), len(cells.grid_pieces()[1])
    shapes = torch.from_numpy(cells.piece_shapes()).argmax(-1)
    shapes[:grid] = -1
    return torch.cat((shapes.new_full((tones,), -1), shapes))


def shape_loss(far: Tensor, piece: Tensor) -> Tensor:
    """Cross entropy of the shape alone, whichever of its pieces, where free pieces are."""
    shapes = free_shapes()
    there = shapes[piece] >= 0
    members = (shapes[:, None] == torch.arange(len(SHAPES))).float()
    chances = F.softmax(-2 * far[there], -1) @ members
    return -chances.gather(1, shapes[piece[there]][:, None]).clamp(min=1e-6).log().mean()


def _right(piece: Tensor, colour: Tensor, true_piece: Tensor, true_colour: Tensor) -> list[float]:
    """Shares of what is right: codes of own pictures; shapes and colours of free pieces."""
    shapes = free_shapes()
    good = ((piece == true_piece) & (colour == true_colour))[:OWN]
    there = shapes[true_piece[FREE]] >= 0
    shape = shapes[piece[FREE][there]] == shapes[true_piece[FREE][there]]
    hue = colour[FREE][there] == true_colour[FREE][there]
    return [part.float().mean().item() for part in (good, shape, hue)]
