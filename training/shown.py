"""Pictures that people show: shapes anywhere, in their colours, as JPEG; and things from outside."""

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.cells import BAR
from training.language.facts import Fact, Facts, ordered
from training.models.local_encoder import GROUND_VARIANTS, VARIANTS
from training.world import (
    CELL,
    COLOURS,
    COLUMNS,
    NEUTRALS,
    ROWS,
    SHAPES,
    STYLES,
    WIDE_COLUMNS,
    FreeThing,
    render_free,
)

SIDE = ROWS * CELL
# Photographs and textures of scikit-image and scikit-learn that training sees; others are kept.
PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png", "data/camera.png", "data/chelsea.png", "data/coffee.png",
        "data/grass.png", "data/ihc.png", "data/horse.png", "data/color.png", "data/phantom.png",
        "data/chessboard_GRAY.png",
    ),
    "sklearn": ("datasets/images/china.jpg",),
}  # fmt: skip
# What people call a tone that is none of the world's own.
_GROUND_NAMES = ("white", "white", "white", "gray", None, "black", "black", "cream", "cream", "cream",
                 "navy", "navy", "mint", None, None, None)  # fmt: skip


def _jpeg(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=rng.randint(60, 95))
    return np.asarray(Image.open(file).convert("RGB"))


def _squared(picture: np.ndarray) -> np.ndarray:
    """Padded to a square and fitted to 128x128, as the model reads any picture."""
    image = Image.fromarray(picture)
    side = max(image.size)
    square = Image.new("RGB", (side, side), BAR)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _places(count: int, width: int, rng: random.Random) -> list[tuple[float, float, float]]:
    """(x, y, side) of things that do not touch."""
    found: list[tuple[float, float, float]] = []
    largest = (72, 64, 52, 44, 40)[count]
    alike = rng.uniform(20, largest) if rng.random() < 0.3 else 0.0
    for _ in range(200):
        if len(found) == count:
            break
        side = alike or rng.uniform(18, largest)
        x, y = (rng.uniform(side / 2, edge - side / 2) for edge in (width, SIDE))
        apart = all(max(abs(x - a), abs(y - b)) > 0.52 * (side + s) + 2 for a, b, s in found)
        if apart:
            found.append((x, y, side))
    return found


def free_picture(rng: random.Random) -> tuple[np.ndarray, Facts]:
    """A picture of shapes anywhere, uint8 [128, 128, 3], and what is in it."""
    width = (WIDE_COLUMNS if rng.random() < 0.12 else COLUMNS) * CELL
    places = _places(rng.choices(range(5), (4, 28, 36, 20, 12))[0], width, rng)
    ground, style, tone = _ground(rng)
    things, facts = [], []
    for x, y, side in places:
        colour, shape = rng.choice([c for c in COLOURS if c != ground]), rng.choice(SHAPES)
        if facts and rng.random() < 0.35:
            like = rng.choice(facts)
            colour, shape = rng.choice(
                ((like.colour, shape), (colour, like.shape), (like.colour, like.shape))
            )
        hue = COLOURS[colour] if rng.random() < 0.5 else rng.choice(VARIANTS[colour])
        if rng.random() < 0.5:
            hue = tuple(min(255, max(0, v + rng.randint(-8, 8))) for v in hue)
        angle = 0.0 if rng.random() < 0.4 else rng.uniform(-15, 15)
        things.append(FreeThing(shape, hue, x, y, side, angle))  # type: ignore[arg-type]
        scale = SIDE / width
        size = "large" if side * scale > 40 else "small"
        down = 0.5 + (y / SIDE - 0.5) * scale
        facts.append(Fact(shape, colour, size, x / width, down, side * scale / SIDE))
    if tone is None:
        picture = render_free(things, ground, style, (width, SIDE))
    else:
        picture = render_free(things, tone, "plain", (width, SIDE))
    dice = rng.random()
    if dice < 0.35:
        picture = _jpeg(picture, rng)
    elif dice < 0.45:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(
            0, rng.uniform(1, 6), picture.shape
        )
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    elif dice < 0.52:
        blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.0)))
        picture = np.asarray(blurred)
    return _squared(picture) if width != SIDE else picture, Facts(ordered(facts), ground, style)


def _ground(rng: random.Random) -> tuple[str, str, tuple[int, int, int] | None]:
    """A background's name and style, and its tone if it is not the world's own."""
    name = rng.choice(list(NEUTRALS if rng.random() < 0.4 else COLOURS))
    if rng.random() < 0.2:
        name = "white"
    dice = rng.random()
    if dice < 0.12:
        return name, STYLES[1], None
    if dice < 0.32:
        tones = [(n, t) for n, t in zip(_GROUND_NAMES, GROUND_VARIANTS, strict=True) if n]
        found, tone = rng.choice(tones)
        return found, "plain", tone
    if dice < 0.40 and name in COLOURS:
        return name, "plain", COLOURS[name]
    return name, "plain", None


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
    return _squared(np.asarray(crop))


def outside_pool(number: int, seed: int) -> list[np.ndarray]:
    """Pictures from outside."""
    rng, photographs = random.Random(seed), _photographs()
    found: list[np.ndarray] = []
    while len(found) < number:
        picture = outside_picture(rng, photographs)
        if picture.std(axis=(0, 1)).mean() > 8:  # an even part may pass for an empty background
            found.append(picture)
    return found
