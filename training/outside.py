"""Pictures from outside of the world: photographs from packages, textures, noise."""

import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.shown import SIDE, squared

# Photographs and textures of scikit-image and scikit-learn that training sees; others are kept.
PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png", "data/camera.png", "data/chelsea.png", "data/coffee.png",
        "data/grass.png", "data/ihc.png", "data/horse.png", "data/color.png", "data/phantom.png",
        "data/chessboard_GRAY.png",
    ),
    "sklearn": ("datasets/images/china.jpg",),
}  # fmt: skip


def _texture(rng: random.Random) -> np.ndarray:
    """Noise, clouds, waves, checks, strokes, stars in the dark, text or heaps of blobs."""
    made = np.random.default_rng(rng.getrandbits(32))
    kind = rng.randrange(10)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    if kind == 0:
        field = made.uniform(0, 255, (SIDE, SIDE, 3))
    elif kind in (1, 2):  # clouds of some grain
        coarse = 2 ** rng.randint(1, 6)
        small = made.uniform(0, 255, (coarse, coarse, 3 if kind == 1 else 1)).astype(np.uint8)
        small = np.repeat(small, 3 // small.shape[2], axis=2)
        field = np.asarray(
            Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32
        )
        field = field + made.normal(0, rng.choice((0, 8, 25)), field.shape)
    elif kind == 3:  # waves
        phase = sum(
            np.sin((x * made.uniform(-1, 1) + y * made.uniform(-1, 1)) * made.uniform(0.05, 0.9))
            for _ in range(3)
        )
        field = 128 + phase[..., None] * made.uniform(-60, 60, 3)
    elif kind == 4:  # checks and bars
        step = rng.choice((5, 7, 9, 11, 13, 21, 27))
        checks = (x // step + (y // step if rng.random() < 0.6 else 0)) % 2
        field = checks[..., None] * made.uniform(0, 255, 3) + (
            1 - checks[..., None]
        ) * made.uniform(0, 255, 3)
    elif kind == 5:  # points of light, and haze
        field = np.full((SIDE, SIDE, 3), made.uniform(0, 40)) + made.normal(0, 6, (SIDE, SIDE, 3))
        for _ in range(rng.randint(10, 150)):
            cx, cy = made.uniform(0, SIDE, 2)
            reach = made.choice((0.6, 1.0, 1.6, 3.0, 9.0), p=(0.4, 0.3, 0.15, 0.1, 0.05))
            light = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * reach**2))
            field += light[..., None] * made.uniform(60, 255, 3)
    elif kind == 6:  # a page of text
        paper, ink = (230, 30) if rng.random() < 0.7 else (30, 230)
        image = Image.new("RGB", (SIDE, SIDE), (paper,) * 3)
        draw = ImageDraw.Draw(image)
        height = rng.randint(9, 16)
        for line in range(0, SIDE, height):
            letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz    ") for _ in range(40))
            draw.text((rng.randint(-8, 8), line), letters, fill=(ink,) * 3)
        field = np.asarray(image) + made.normal(0, rng.choice((2, 12)), (SIDE, SIDE, 3))
    elif kind == 7:  # a heap of blobs: coins, cells, pebbles
        base, spread = made.uniform(20, 235, 3), rng.choice((15, 50, 100))
        field = np.full((SIDE, SIDE, 3), base) + made.normal(0, 5, (SIDE, SIDE, 3))
        for _ in range(rng.randint(7, 45)):
            cx, cy = made.uniform(0, SIDE, 2)
            a, b = made.uniform(5, 22, 2)
            inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2
            blob = np.clip(1.5 - inside, 0, 1)[..., None]
            field += blob * (base + made.uniform(-spread, spread, 3) - field)
    else:  # many strokes or patches
        image = Image.new("RGB", (SIDE, SIDE), tuple(made.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for _ in range(rng.randint(25, 120)):
            points = [tuple(p) for p in made.uniform(0, SIDE, (rng.choice((2, 3)), 2)).tolist()]
            fill = tuple(made.integers(0, 256, 3).tolist())
            if len(points) == 3 and kind == 9:
                draw.polygon(points, fill=fill)
            else:
                draw.line(points, fill=fill, width=rng.randint(1, 5))
        field = np.asarray(image, dtype=np.float32)
    return np.clip(field, 0, 255).astype(np.uint8)


def _photographs() -> list[Image.Image]:
    found = []
    for package, names in PHOTOGRAPHS.items():
        folder = Path(str(__import__(package).__file__)).parent
        found += [Image.open(folder / name).convert("RGB") for name in names]
    return found


def outside_picture(rng: random.Random, photographs: list[Image.Image]) -> np.ndarray:
    """A part of a photograph, or a texture, uint8 [128, 128, 3]."""
    if rng.random() < 0.45:
        return _texture(rng)
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
