"""What is measured beside the yardstick: simple prompts, random scenes, pictures from outside."""

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from training.everyday import HELD_OUT_PICTURES
from training.language.words import COLOUR_WORDS, SHAPE_WORDS, article
from training.world import (
    BACKGROUNDS,
    CELL,
    COLOURS,
    PAIRS,
    SHAPES,
    SPANS,
    STYLES,
    WIDE_COLUMNS,
)

SEED = 2024
NUMBERS = {2: "two", 3: "three", 4: "four"}


def group(colour: str, shape: str, count: int = 1) -> dict:
    return {"colour": colour, "shape": shape, "count": [count]}


def named(colour: str, shape: str) -> str:
    return article(f"{colour} {shape}")


def several(number: int, things: int) -> list[tuple[str, dict]]:
    """Prompts of one to three different things, without a background."""
    rng, found = random.Random(f"{SEED} {things}"), []
    for _ in range(number):
        pairs = rng.sample(PAIRS, things)
        *first, last = [named(*pair) for pair in pairs]
        text = f"{', '.join(first)} and {last}" if first else last
        found.append((text, {"things": [group(*p) for p in pairs], "background": None}))
    return found


def counts(number: int) -> list[tuple[str, dict]]:
    rng, found = random.Random(f"{SEED} counts"), []
    for i in range(number):
        (colour, shape), count = rng.choice(PAIRS), 2 + i % 3
        plural = shape + ("es" if shape == "cross" else "s")
        picture = {"things": [group(colour, shape, count)], "background": None}
        found.append((f"{NUMBERS[count]} {colour} {plural}", picture))
    return found


def other_words() -> list[tuple[str, dict]]:
    """Every synonym that the model was taught: of a shape alone, of a colour with a shape."""
    found = []
    for shape, synonyms in SHAPE_WORDS.items():
        picture = {"things": [{"colour": None, "shape": shape, "count": [1]}], "background": None}
        found += [(article(word), picture) for word in synonyms]
    for colour, synonyms in COLOUR_WORDS.items():
        for i, word in enumerate(synonyms):
            shape = SHAPES[i % len(SHAPES)]
            picture = {"things": [group(colour, shape)], "background": None}
            found.append((article(f"{word} {shape}"), picture))
    return found


def on_backgrounds(number: int) -> list[tuple[str, dict]]:
    rng, found = random.Random(f"{SEED} backgrounds"), []
    for i in range(number):
        background = list(BACKGROUNDS)[i % len(BACKGROUNDS)]
        pair = rng.choice([pair for pair in PAIRS if pair[0] != background])
        picture = {"things": [group(*pair)], "background": background}
        found.append((f"{named(*pair)} on {article(background)} background", picture))
    return found


def random_scene(rng: random.Random, off_grid: bool) -> dict:
    """A scene of one to three things that do not touch, as in `everyday.jsonl`."""
    columns = rng.choice((8, 8, 8, WIDE_COLUMNS)) if off_grid else 8
    background = rng.choice(list(BACKGROUNDS))
    things: list[dict] = []
    taken: list[tuple[float, float, float]] = []
    for colour, shape in rng.sample(PAIRS, rng.choice((1, 1, 2, 3))):
        size = rng.choice(list(SPANS))
        span = rng.uniform(8 / 7, 4 if len(things) < 1 else 2.5) if off_grid else SPANS[size]
        for _ in range(50):
            x, y = (rng.uniform(0, most - span) for most in (columns, 8))
            if not off_grid:
                x, y = round(x), round(y)
            far = [max(abs(x + span / 2 - a), abs(y + span / 2 - b)) - c for a, b, c in taken]
            if colour != background and min(far, default=9) >= span / 2 + (0.25 if off_grid else 0):
                taken.append((x + span / 2, y + span / 2, span / 2))
                place = {"size": size, "column": x, "row": y}
                if off_grid:
                    middle = {"x": (x + span / 2) * CELL, "y": (y + span / 2) * CELL}
                    place = middle | {"side": span * CELL, "angle": rng.uniform(-10, 10)}
                things.append({"shape": shape, "colour": colour} | place)
                break
    # Stripes in a thing's own colour would hide it.
    plain = background in COLOURS or off_grid
    style = "plain" if plain else rng.choice(STYLES)
    return {
        "things": things,
        "background": background,
        "style": style,
        "width": columns * CELL,
    }


def outside_pictures(number: int) -> Iterator[Image.Image]:
    """Crops of the held-out pictures, whole ones first; none that is nearly even."""
    rng = random.Random(f"{SEED} outside")
    pictures = []
    for package, names in HELD_OUT_PICTURES.items():
        found = find_spec(package)
        if found is None or found.origin is None:
            raise SystemExit(f"pip install {package}: its sample pictures are part of the test.")
        for name in names:
            path = Path(found.origin).parent / name
            if path.suffix == ".npz":
                picture = Image.fromarray(np.load(path)["data"].astype(np.uint8))
            else:
                picture = Image.open(path)
            pictures.append(picture.convert("RGB"))
    for i in range(number):
        picture = pictures[i % len(pictures)]
        yield picture if i < len(pictures) else _crop(picture, rng)


def _crop(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A part that is not nearly even, or the least even of 30 (some pictures have no other)."""
    found = []
    for _ in range(30):
        side = round(min(picture.size) * rng.uniform(0.3, 0.9))
        x, y = (rng.randrange(whole - side + 1) for whole in picture.size)
        part = picture.crop((x, y, x + side, y + side))
        found.append((np.asarray(part).std(axis=(0, 1)).mean(), part))
        if found[-1][0] > 15:
            break
    return max(found, key=lambda pair: pair[0])[1]
