"""Textures, which hold no shapes of the world: noise, waves, pages of text, heaps of blobs."""

import random
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from training.shown import SIDE

Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)


def texture(rng: random.Random) -> np.ndarray:
    """One of ten kinds, uint8 [128, 128, 3]."""
    made = np.random.default_rng(rng.getrandbits(32))
    return np.clip(TEXTURES[rng.randrange(len(TEXTURES))](rng, made), 0, 255).astype(np.uint8)


def _noise(_rng: random.Random, made: np.random.Generator) -> np.ndarray:
    return made.uniform(0, 255, (SIDE, SIDE, 3))


def _clouds(rng: random.Random, made: np.random.Generator, bands: int) -> np.ndarray:
    """Of some grain, in colours (3 bands) or in grays (1)."""
    coarse = 2 ** rng.randint(1, 6)
    small = made.uniform(0, 255, (coarse, coarse, bands)).astype(np.uint8)
    small = np.repeat(small, 3 // bands, axis=2)
    large = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    field = np.asarray(large, dtype=np.float32)
    return field + made.normal(0, rng.choice((0, 8, 25)), field.shape)


def _waves(_rng: random.Random, made: np.random.Generator) -> np.ndarray:
    phase = sum(
        np.sin((X * made.uniform(-1, 1) + Y * made.uniform(-1, 1)) * made.uniform(0.05, 0.9))
        for _ in range(3)
    )
    return 128 + np.asarray(phase)[..., None] * made.uniform(-60, 60, 3)


def _checks(rng: random.Random, made: np.random.Generator) -> np.ndarray:
    """Checks or bars."""
    step = rng.choice((5, 7, 9, 11, 13, 21, 27))
    checks = ((X // step + (Y // step if rng.random() < 0.6 else 0)) % 2)[..., None]
    return checks * made.uniform(0, 255, 3) + (1 - checks) * made.uniform(0, 255, 3)


def _lights(rng: random.Random, made: np.random.Generator) -> np.ndarray:
    """Points of light, and haze, in the dark."""
    field = np.full((SIDE, SIDE, 3), made.uniform(0, 40)) + made.normal(0, 6, (SIDE, SIDE, 3))
    for _ in range(rng.randint(10, 150)):
        cx, cy = made.uniform(0, SIDE, 2)
        reach = made.choice((0.6, 1.0, 1.6, 3.0, 9.0), p=(0.4, 0.3, 0.15, 0.1, 0.05))
        light = np.exp(-((X - cx) ** 2 + (Y - cy) ** 2) / (2 * reach**2))
        field += light[..., None] * made.uniform(60, 255, 3)
    return field


def _page(rng: random.Random, made: np.random.Generator) -> np.ndarray:
    """Lines of text, dark on light or light on dark."""
    paper, ink = (230, 30) if rng.random() < 0.7 else (30, 230)
    image = Image.new("RGB", (SIDE, SIDE), (paper,) * 3)
    draw = ImageDraw.Draw(image)
    height = rng.randint(9, 16)
    for line in range(0, SIDE, height):
        letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz    ") for _ in range(40))
        draw.text((rng.randint(-8, 8), line), letters, fill=(ink,) * 3)
    return np.asarray(image) + made.normal(0, rng.choice((2, 12)), (SIDE, SIDE, 3))


def _heap(rng: random.Random, made: np.random.Generator) -> np.ndarray:
    """Blobs: coins, cells, pebbles."""
    base, spread = made.uniform(20, 235, 3), rng.choice((15, 50, 100))
    field = np.full((SIDE, SIDE, 3), base) + made.normal(0, 5, (SIDE, SIDE, 3))
    for _ in range(rng.randint(7, 45)):
        cx, cy = made.uniform(0, SIDE, 2)
        a, b = made.uniform(5, 22, 2)
        inside = ((X - cx) / a) ** 2 + ((Y - cy) / b) ** 2
        blob = np.clip(1.5 - inside, 0, 1)[..., None]
        field += blob * (base + made.uniform(-spread, spread, 3) - field)
    return field


def _strokes(rng: random.Random, made: np.random.Generator, filled: bool) -> np.ndarray:
    """Many strokes, some of them patches if `filled`."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(made.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(25, 120)):
        points = [tuple(p) for p in made.uniform(0, SIDE, (rng.choice((2, 3)), 2)).tolist()]
        fill = tuple(made.integers(0, 256, 3).tolist())
        if len(points) == 3 and filled:
            draw.polygon(points, fill=fill)
        else:
            draw.line(points, fill=fill, width=rng.randint(1, 5))
    return np.asarray(image, dtype=np.float32)


TEXTURES = (
    _noise, partial(_clouds, bands=3), partial(_clouds, bands=1), _waves, _checks,
    _lights, _page, _heap, partial(_strokes, filled=False), partial(_strokes, filled=True),
)  # fmt: skip
