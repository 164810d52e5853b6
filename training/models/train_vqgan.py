"""Make the VQGAN: the encoder and the codebook from single cells, then the decoder on pictures."""

import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import cells, local_encoder
from training.scenes import PAIRS, random_scene
from training.vqgan import VQGANConfig, VQModel
from training.world import CELL, Scene, render

STEPS = 3900
BATCH = 16
RATE, WARM_UP = 2e-3, 50
SAVE_EVERY, REPORT_EVERY = 100, 50
COUNT_WEIGHTS = (5, 30, 35, 30)
THING_WEIGHT = 2.0


def pixels(scenes: list[Scene]) -> Tensor:
    """Pictures of one size, float32 [B, 3, H, W] in [-1, 1]."""
    stacked = np.stack([render(scene) for scene in scenes])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def weights(scenes: list[Scene]) -> Tensor:
    """How much each pixel counts, [B, 1, H, W]: shapes are small, and their outlines matter."""
    weight = torch.ones(len(scenes), 1, scenes[0].height, scenes[0].width)
    for number, scene in enumerate(scenes):
        for thing in scene.things:
            y, x, side = thing.row * CELL, thing.column * CELL, thing.span * CELL
            weight[number, 0, y : y + side, x : x + side] = THING_WEIGHT
    return weight


def to_uint8(decoded: Tensor) -> np.ndarray:
    """[B, 3, H, W] in [-1, 1] -> uint8 [B, H, W, 3], truncated as the reference does."""
    scaled = (decoded.float().clamp(-1, 1) + 1) / 2 * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def psnr(decoded: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Decibels per picture, of uint8 [B, H, W, 3]."""
    error = (decoded.astype(np.float32) - true).astype(np.float32)
    return 10 * np.log10(255**2 / np.maximum(np.square(error).mean(axis=(1, 2, 3)), 1e-3))


def new_model(seed: int) -> VQModel:
    torch.manual_seed(seed)
    return VQModel(VQGANConfig(n_embed=cells.code_count()))


def make_encoder(model: VQModel, seed: int) -> None:
    """Fit the encoder and the codebook of `model` in place."""
    patches, codes = cells.all_patches(np.random.default_rng(seed))
    grounds = len(cells.ground_codes()[1])
    network, book = local_encoder.fit(patches, codes, cells.codebook(), grounds=grounds, seed=seed)
    local_encoder.install(network, model)
    with torch.no_grad():
        model.quantize.embedding.weight.copy_(book)


def _scenes(rng: random.Random, size: int) -> list[Scene]:
    wide = rng.random() < 0.15
    counts = rng.choices(range(4), COUNT_WEIGHTS, k=size)
    return [random_scene(rng, count=count, wide=wide, pairs=PAIRS) for count in counts]


def train_decoder(model: VQModel, saved: Path, *, steps: int, seed: int) -> None:
    """Train all behind the codebook; go on from `saved` if it is there. One picture's codes are
    known (`cells.scene_codes`, which the encoder reproduces), so none are computed here."""
    model.quantize.requires_grad_(False)
    parameters = [*model.post_quant_conv.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.98), weight_decay=1e-3)
    done = 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    model.decoder.to(memory_format=torch.channels_last)
    rng = random.Random(seed + done)
    started, lost = time.time(), 0.0
    for step in range(done, steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / WARM_UP, cosine)
        scenes = _scenes(rng, BATCH)
        codes = torch.from_numpy(np.stack([cells.scene_codes(scene) for scene in scenes]))
        true = pixels(scenes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            decoded = model.decode(codes).float()
        error = decoded - true
        loss = (weights(scenes) * (error.abs() + 6 * error.square())).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        lost += error.square().mean().item()
        if (step + 1) % REPORT_EVERY == 0:
            decibels = 10 * np.log10(4 / (lost / REPORT_EVERY))
            left = (time.time() - started) / (step + 1 - done) * (steps - step - 1) / 60
            print(f"decoder {step + 1}/{steps} {decibels:.2f} dB, {left:.0f} min left", flush=True)
            lost = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(state, saved.with_suffix(".part"))
            saved.with_suffix(".part").replace(saved)


def train(folder: Path, *, steps: int = STEPS, seed: int = 0) -> None:
    """Train into `folder`/vqgan.pt."""
    model, encoder = new_model(seed), folder / "encoder.pt"
    if encoder.exists():
        model.load_state_dict(torch.load(encoder, weights_only=True))
    else:
        make_encoder(model, seed)
        torch.save(model.state_dict(), encoder)
    train_decoder(model, folder / "vqgan.pt", steps=steps, seed=seed)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options.folder, steps=options.steps)
