"""Make the VQGAN: the encoder and the codebook, then the decoder on pictures."""

import math
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import cells, shown
from training.models import decoder_path, encoder
from training.models.muon import Muon, small_state
from training.models.vqgan import VQGANConfig, VQModel, distances
from training.scenes import anywhere, apart, random_scene
from training.world import CELL, COLOURS, ROWS, Scene, Thing, render


def save(state: dict, path: Path) -> None:
    """Save a state; a stop meanwhile leaves the earlier one."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def make_encoder(folder: Path, *, steps: int = encoder.STEPS, seed: int = 0) -> None:
    """Train the encoder and the codebook into `folder`/encoder.pt."""
    network, book = encoder.fit(steps=steps, seed=seed)
    save({"network": network.state_dict(), "book": book}, folder / "encoder.pt")


def refine_encoder(folder: Path, *, steps: int = encoder.LATE_STEPS, seed: int = 0) -> None:
    """Go on with the encoder in `folder`/encoder.pt; not if that is done."""
    saved = folder / "encoder.pt"
    if "refined" in torch.load(saved, weights_only=True):
        return
    network, book = load_encoder(folder)
    encoder.refine(network, book, steps=steps, seed=seed + 1)
    save({"network": network.state_dict(), "book": book, "refined": True}, saved)


def load_encoder(folder: Path) -> tuple[encoder.Encoder, Tensor]:
    """The encoder, ready to use, and the codebook."""
    state = torch.load(folder / "encoder.pt", weights_only=True)
    network = encoder.Encoder()
    network.load_state_dict(state["network"])
    return network.to(memory_format=torch.channels_last).eval(), state["book"]


@torch.no_grad()
def encode(network: encoder.Encoder, book: Tensor, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Codes of pictures uint8 [128, 128, 3], int64 [n, 64]."""
    found = []
    for start in range(0, len(pictures), 32):
        x = torch.from_numpy(np.stack(pictures[start : start + 32])).permute(0, 3, 1, 2)
        z = network(x / 127.5 - 1)
        found.append(distances(z, book).argmin(-1).flatten(1))
    return torch.cat(found).numpy()


def new_model(folder: Path, seed: int) -> VQModel:
    """A VQModel with the encoder and codebook of `folder`, its decoder untrained."""
    torch.manual_seed(seed)
    model = VQModel(VQGANConfig(n_embed=cells.code_count()))
    network, book = load_encoder(folder)
    encoder.install(network, model)
    with torch.no_grad():
        model.quantize.embedding.weight.copy_(book)
    return model


STEPS = 3000
WHOLE_SHARE = 0.35  # of the steps, at the end, on pictures of the two sizes; before, on parts
MUON_RATE, ADAM_RATE, WARM_UP = 0.015, 2e-3, 40
SAVE_EVERY, REPORT_EVERY = 50, 25
WORST = 0.02  # the share of pixels with the largest errors counts again: specks are few pixels
COLOURED = 0.45  # of the pictures at least are on one of the eight colours, which show specks


def scene_of(rng: random.Random, count: int, *, wide: bool = False) -> Scene:
    """A random scene, its background a colour as often as `COLOURED` says, and more."""
    coloured = rng.random() < COLOURED
    while True:
        scene = random_scene(rng, count=count, wide=wide)
        if scene.background in COLOURS or not coloured:
            return scene


def part_scene(rng: random.Random, side: int) -> Scene:
    """One thing, sometimes two, on a picture of `side` x `side` cells."""
    whole = scene_of(rng, 1)
    things: list[Thing] = []
    for _ in range(2 if side > 5 else 1):
        thing = anywhere(random_scene(rng, count=1).things[0], side, rng)
        if apart(thing, things) and thing.colour != whole.background:
            things.append(thing)
    return Scene(tuple(things), whole.background, whole.style, side)


def part(rng: random.Random, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of `side` x `side` cells, uint8, and its codes. Stripes start anywhere."""
    scene = part_scene(rng, side)
    first = rng.randint(0, ROWS - side) if not scene.things else 0
    rows = slice(first, first + side)
    pixels = slice(first * CELL, (first + side) * CELL)
    return render(scene)[pixels], cells.scene_codes(scene)[rows]


def whole(rng: random.Random, *, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    scene = scene_of(rng, rng.choices(range(5), (8, 38, 28, 16, 10))[0], wide=wide)
    return render(scene), cells.scene_codes(scene)


def batch_of(
    rng: random.Random, step: int, steps: int, encode: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [B, H, W, 3] and codes [B, rows, columns]. Some are of shapes anywhere."""
    dice = rng.random()
    late = step >= steps * (1 - WHOLE_SHARE)
    if dice < 0.12:
        pictures = [shown.free_picture(rng)[0] for _ in range(4)]
        return np.stack(pictures), encode(pictures).reshape(-1, ROWS, ROWS)
    if late:
        wide = dice > 0.88
        made = [whole(rng, wide=wide) for _ in range(3 if wide else 4)]
    else:
        side, number = ((4, 12), (4, 12), (5, 8), (6, 5))[rng.randrange(4)]
        made = [part(rng, side) for _ in range(number)]
    return np.stack([p for p, _ in made]), np.stack([c for _, c in made])


def loss_of(decoded: Tensor, true: Tensor) -> Tensor:
    """Of pictures [B, 3, H, W] in [-1, 1]: absolute and squared errors, the worst twice."""
    error = (decoded - true).abs()
    each = (error + 6 * error.square()).mean(1).flatten(1)
    return each.mean() + 0.08 * each.topk(int(WORST * each.shape[1]), dim=1).values.mean()


def train_decoder(folder: Path, *, steps: int = STEPS, seed: int = 0) -> None:
    """Train all behind the codebook into `folder`/vqgan.pt; go on from it if it is there."""
    model, saved = new_model(folder, seed), folder / "vqgan.pt"
    encode_pictures = partial(encode, *load_encoder(folder))
    model.requires_grad_(False).to(memory_format=torch.channels_last)  # which is faster
    model.post_quant_conv.requires_grad_(True)
    model.decoder.requires_grad_(True)
    fixed = decoder_path.prepare(model.decoder)
    for parameter in fixed:
        parameter.requires_grad_(False)
    trained = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    parameters = [p for p in trained if p.requires_grad]
    optimizers: list[torch.optim.Optimizer] = [
        Muon([p for p in parameters if p.dim() == 4], MUON_RATE, decay=0.01),
        torch.optim.Adam([p for p in parameters if p.dim() == 1], ADAM_RATE, betas=(0.9, 0.98)),
    ]
    done = 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, loaded in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(loaded)
        done = state["step"]
    rng = random.Random(seed + done)
    started, lost = time.time(), 0.0
    for step in range(done, steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for optimizer, top in zip(optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            optimizer.param_groups[0]["lr"] = top * min((step + 1) / WARM_UP, cosine)
            optimizer.zero_grad(set_to_none=True)
        pictures, codes = batch_of(rng, step, steps, encode_pictures)
        true = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        decoded = model.decode(torch.from_numpy(codes))
        loss = loss_of(decoded, true)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        lost += (decoded.detach() - true).square().mean().item()
        if (step + 1) % REPORT_EVERY == 0:
            decibels = 10 * math.log10(4 / (lost / REPORT_EVERY))
            left = (time.time() - started) / (step + 1 - done) * (steps - step - 1) / 60
            print(f"decoder {step + 1}/{steps} {decibels:.2f} dB, {left:.0f} min left", flush=True)
            lost = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [small_state(optimizer) for optimizer in optimizers],
                "step": step + 1,
            }
            save(state, saved)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if not (options.folder / "encoder.pt").exists():
        make_encoder(options.folder)
    train_decoder(options.folder, steps=options.steps)
