"""Pictures that people show: shapes anywhere, in their colours, as JPEG."""

import io
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from training.cells import BAR
from training.language.facts import Fact, Facts, ordered
from training.scenes import random_pairs
from training.world import (
    CELL,
    COLOURS,
    COLUMNS,
    NEUTRALS,
    ROWS,
    STYLES,
    WIDE_COLUMNS,
    FreeThing,
    render_free,
)

SIDE = ROWS * CELL
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
# What people call a tone that is none of the world's own.
_GROUND_NAMES = ("white", "white", "white", "gray", None, "black", "black", "cream", "cream", "cream",
                 "navy", "navy", "mint", None, None, None)  # fmt: skip


def _jpeg(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=rng.randint(60, 95))
    return np.asarray(Image.open(file).convert("RGB"))


def squared(picture: np.ndarray) -> np.ndarray:
    """Padded to a square and fitted to 128x128, as the model reads any picture."""
    image = Image.fromarray(picture)
    side = max(image.size)
    square = Image.new("RGB", (side, side), BAR)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _places(
    count: int, width: int, rng: random.Random, small: bool
) -> list[tuple[float, float, float]]:
    """(x, y, side) of things that do not touch."""
    found: list[tuple[float, float, float]] = []
    largest = 32 if small else (72, 64, 52, 44, 40)[count]
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


@dataclass(frozen=True)
class FreeScene:
    """Shapes anywhere on a picture `width` pixels wide; `names` are the colours' names, `tone` the
    background's if it is none of the world's own."""

    things: tuple[FreeThing, ...]
    names: tuple[str, ...]
    background: str
    style: str
    tone: tuple[int, int, int] | None
    width: int

    @property
    def squared(self) -> tuple[FreeThing, ...]:
        """The things as the picture of 128x128 shows them."""
        scale = SIDE / self.width
        return tuple(
            replace(t, x=t.x * scale, y=SIDE / 2 + (t.y - SIDE / 2) * scale, side=t.side * scale)
            for t in self.things
        )

    @property
    def facts(self) -> Facts:
        things = zip(self.squared, self.names, strict=True)
        found = [
            Fact(t.shape, name, "large" if t.side > 40 else "small", t.x / SIDE, t.y / SIDE,
                 t.side / SIDE)
            for t, name in things
        ]  # fmt: skip
        return Facts(ordered(found), self.background, self.style)

    def picture(self, *, empty: bool = False) -> np.ndarray:
        """uint8 [128, width, 3], before it is fitted to a square; `empty` leaves the things out."""
        plain = self.tone is not None
        return render_free(
            () if empty else self.things,
            self.tone if self.tone is not None else self.background,
            "plain" if plain else self.style,
            (self.width, SIDE),
        )


def free_scene(rng: random.Random, *, small: float = 0.0) -> FreeScene:
    """Things of any size; in a share `small` of scenes all of them are small."""
    width = (WIDE_COLUMNS if rng.random() < 0.12 else COLUMNS) * CELL
    count = rng.choices(range(5), (4, 28, 36, 20, 12))[0]
    places = _places(count, width, rng, small > 0 and rng.random() < small)
    ground, style, tone = _ground(rng)
    things: list[FreeThing] = []
    names: list[str] = []
    pairs = random_pairs(rng, len(places), ground)
    for (x, y, side), (colour, shape) in zip(places, pairs, strict=True):
        hue = COLOURS[colour] if rng.random() < 0.5 else rng.choice(VARIANTS[colour])
        if rng.random() < 0.5:
            hue = tuple(min(255, max(0, v + rng.randint(-8, 8))) for v in hue)
        angle = 0.0 if rng.random() < 0.4 else rng.uniform(-15, 15)
        things.append(FreeThing(shape, hue, x, y, side, angle))  # type: ignore[arg-type]
        names.append(colour)
    return FreeScene(tuple(things), tuple(names), ground, style, tone, width)


def handled(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """A picture saved as JPEG, noisy, a little blurred or, mostly, as it was; fitted to 128x128."""
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
    return picture if picture.shape[1] == SIDE else squared(picture)


def free_picture(rng: random.Random, *, small: float = 0.0) -> tuple[np.ndarray, Facts]:
    """A picture of shapes anywhere, uint8 [128, 128, 3], and what is in it."""
    scene = free_scene(rng, small=small)
    return handled(scene.picture(), rng), scene.facts


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
