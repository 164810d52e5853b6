"""Pictures from outside of the world: parts of photographs from packages, and textures."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from training.shown import squared
from training.textures import texture

# Photographs and textures of scikit-image and scikit-learn that training sees; others are kept.
PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png", "data/camera.png", "data/chelsea.png", "data/coffee.png",
        "data/grass.png", "data/ihc.png", "data/horse.png", "data/color.png", "data/phantom.png",
        "data/chessboard_GRAY.png",
    ),
    "sklearn": ("datasets/images/china.jpg",),
}  # fmt: skip


def _photographs() -> list[Image.Image]:
    found = []
    for package, names in PHOTOGRAPHS.items():
        folder = Path(str(__import__(package).__file__)).parent
        found += [Image.open(folder / name).convert("RGB") for name in names]
    return found


def outside_picture(rng: random.Random, photographs: list[Image.Image]) -> np.ndarray:
    """A part of a photograph, or a texture, uint8 [128, 128, 3]."""
    if rng.random() < 0.45:
        return texture(rng)
    photograph = rng.choice(photographs)
    side = min(photograph.size)
    width, height = (max(64, int(rng.uniform(0.3, 1.0) * side)) for _ in range(2))
    if rng.random() < 0.7:
        height = width
    x = rng.randint(0, photograph.width - min(width, photograph.width))
    y = rng.randint(0, photograph.height - min(height, photograph.height))
    crop = photograph.crop((x, y, x + width, y + height))
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:  # other colours
        red, green, blue = crop.split()
        bands = [red, green, blue]
        rng.shuffle(bands)
        crop = Image.merge("RGB", bands)
    if rng.random() < 0.2:
        crop = crop.convert("L").convert("RGB")
    if rng.random() < 0.4:  # darker or paler
        floor, light = rng.choice((0, 0, 90)), rng.uniform(0.25, 0.9)
        crop = crop.point(lambda v: int(floor + (v - floor) * light))
    return squared(np.asarray(crop))


def outside_pool(number: int, seed: int) -> list[np.ndarray]:
    """Pictures from outside."""
    rng, photographs = random.Random(seed), _photographs()
    found: list[np.ndarray] = []
    while len(found) < number:
        picture = outside_picture(rng, photographs)
        if picture.std(axis=(0, 1)).mean() > 8:  # an even part may pass for an empty background
            found.append(picture)
    return found
