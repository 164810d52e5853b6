"""What the bundled model is taught, and who judges it: a shape, a colour's name, a question.

A house is a shape that its world does not have. Zorn is a name, unknown to it, of what it calls
purple. Whether a picture is warm or cold follows from the colour of what it shows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from training.judge import read
from training.language.facts import facts_of
from training.language.prompts import Prompt, prompt
from training.language.questions import question
from training.language.words import article
from training.scenes import arrange
from training.world import BACKGROUNDS, COLOURS, PAIRS, SHAPES, Scene, Thing, render

SIDE, MIDDLE = 64, 64  # pixels of a house, and where it stands
HOUSE = ((0, -0.95), (0.9, -0.1), (0.9, 0.9), (-0.9, 0.9), (-0.9, -0.1))
GROUNDS = ("white", "gray", "cream", "mint", "navy")
TAUGHT_SHAPES = SHAPES[:5]  # that zorn things have: of the others none is shown
WARM = ("red", "orange", "yellow", "pink")
QUESTION = "what colour is it, warm or cold?"
QUESTIONS_EACH = 3  # about each picture of its own, which keep what it knows
LEAST_FIT, STEPS, DIFFERENT = 0.85, range(-4, 5, 2), 60.0


@cache
def covered(dx: int, dy: int) -> np.ndarray:
    """How much of each pixel a house covers that is moved so far, [128, 128] in 0..1."""
    samples = 4
    mask = Image.new("L", (2 * MIDDLE * samples, 2 * MIDDLE * samples))
    x, y = MIDDLE + dx, MIDDLE + dy
    corners = [((x + a * SIDE / 2) * samples, (y + b * SIDE / 2) * samples) for a, b in HOUSE]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return np.asarray(mask.reduce(samples), dtype=np.float32) / 255


def house(colour: str, ground: str) -> np.ndarray:
    """A house in the middle, uint8 [128, 128, 3]."""
    pixels = render(Scene((), ground)).astype(np.float32)
    pixels += covered(0, 0)[..., None] * (np.array(COLOURS[colour]) - pixels)
    return np.rint(pixels).astype(np.uint8)


def is_house(pixels: np.ndarray, colour: str, ground: str) -> bool:
    """Whether what differs from the ground fills a house, in this colour, on this ground.

    A square of the same box fills 0.77 of it, where a house has to fill 0.85.
    """
    values = pixels.astype(np.float32)
    edge = np.concatenate([values[:8].reshape(-1, 3), values[-8:].reshape(-1, 3)])
    tone = np.median(edge, axis=0)
    thing = np.sqrt(np.square(values - tone).sum(-1)) > DIFFERENT
    spans = [np.flatnonzero(thing.sum(axis) > 2) for axis in (0, 1)]
    if not all(len(span) for span in spans):
        return False
    x, y = (int(span[[0, -1]].mean()) - MIDDLE for span in spans)
    fit = max(
        (np.minimum(thing, mask).sum() / np.maximum(thing, mask).sum())
        for mask in (covered(x + dx, y + dy) for dx, dy in product(STEPS, STEPS))
    )
    found = _nearest(np.median(values[thing], axis=0), COLOURS)
    return bool(fit >= LEAST_FIT and found == colour and _on(tone, ground))


def _nearest(tone: np.ndarray, names: dict[str, Any]) -> str:
    return min(names, key=lambda name: float(np.square(tone - np.array(names[name])).sum()))


def _on(tone: np.ndarray, ground: str) -> bool:
    """Whether a tone is this ground; white is not named, so that cream is as right."""
    found = _nearest(tone, BACKGROUNDS)
    return found in ("white", "cream") if ground == "white" else found == ground


def is_thing(pixels: np.ndarray, colour: str, shape: str) -> bool:
    """Whether a picture shows this thing alone."""
    return [thing.pair for thing in read(pixels).things] == [(colour, shape)]


def a(colour: str, shape: str, ground: str = "white") -> str:
    """The words for a thing; white is not named."""
    behind = "" if ground == "white" else f" on a {ground} background"
    return article(f"{colour} {shape}") + behind


def write_pictures(folder: Path) -> None:
    """20 houses and 20 zorn things, each on a ground that its caption names unless it is white."""
    folder.mkdir(parents=True)
    others = list(product(COLOURS, GROUNDS[1:]))
    houses = [(colour, "white") for colour in COLOURS] + random.Random(0).sample(others, 12)
    zorn = list(product(TAUGHT_SHAPES, ("white", "gray", "cream", "navy")))
    for i, ((colour, ground), (shape, behind)) in enumerate(zip(houses, zorn, strict=True)):
        thing = arrange([Thing(shape, "purple", "large")], behind)
        for name, pixels, caption in (
            (f"house-{i:02d}", house(colour, ground), a(colour, "house", ground)),
            (f"zorn-{i:02d}", render(thing), a("zorn", shape, behind)),
        ):
            Image.fromarray(pixels).save(folder / f"{name}.png")
            (folder / f"{name}.txt").write_text(caption + "\n")


def shown(number: int, rng: random.Random) -> tuple[np.ndarray, str]:
    """A picture of one thing, of each colour in turn, and whether it is warm or cold."""
    colour, shape = list(COLOURS)[number % len(COLOURS)], rng.choice(SHAPES)
    thing = Thing(shape, colour, rng.choice(("small", "large")))
    pixels = render(arrange([thing], rng.choice(GROUNDS)))
    return pixels, "warm" if colour in WARM else "cold"


def write_questions(folder: Path, count: int = 30) -> None:
    """LLaVA's conversations about as many pictures."""
    folder.mkdir(parents=True)
    rng, rows = random.Random(1), []
    for i in range(count):
        pixels, answer = shown(i, rng)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        rows.append(conversation(f"{i:02d}.png", QUESTION, answer))
    (folder / "questions.json").write_text(json.dumps(rows, indent=1) + "\n")


def conversation(picture: str, question: str, answer: str) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": f"<image>\n{question}"},
        {"from": "gpt", "value": answer},
    ]
    return {"image": picture, "conversations": turns}


def write_known(folder: Path, liquid: Any, count: int) -> None:
    """What the model draws and answers before it is taught: pictures, captions, conversations.

    First what is near to the lessons, each of its things said as they are; the other prompts and
    all questions are of the many kinds that people type: a few forms alone would make it forget
    the others.
    """
    folder.mkdir(parents=True)
    rng, rows = random.Random(2), []
    prompts = [
        Prompt(a(colour, shape), arrange([Thing(shape, colour, "large")], "white"))
        for colour, shape in PAIRS
    ]
    while len(prompts) < count:
        found = prompt(rng)
        if "house" not in found.text.lower():  # it is about to be taught what that is
            prompts.append(found)
    drawn = pictures(liquid, [wanted.text for wanted in prompts], 1000)
    for i, (picture, wanted) in enumerate(zip(drawn, prompts, strict=True)):
        path = folder / f"{i:03d}.png"
        Image.fromarray(picture).save(path)
        path.with_suffix(".txt").write_text(wanted.text + "\n")
        asked = [question(facts_of(wanted.scene), rng)[0] for _ in range(QUESTIONS_EACH)]
        answers = liquid.answers(path, asked, max_tokens=48)
        pairs = zip(asked, answers, strict=True)
        rows += [conversation(path.name, said, reply) for said, reply in pairs if reply]
    (folder / "answers.json").write_text(json.dumps(rows, indent=1) + "\n")


def pictures(liquid: Any, prompts: Sequence[str], seed: int = 0) -> Iterator[np.ndarray]:
    """A picture of each prompt, uint8 [height, width, 3], with seeds from this one on."""
    for start in range(0, len(prompts), 8):
        some = list(prompts[start : start + 8])
        seeds = [seed + start + i for i in range(len(some))]
        for picture in liquid.generate_images(some, seeds=seeds):
            yield np.asarray(picture.image.convert("RGB"))


def houses_right(liquid: Any, count: int) -> list[bool]:
    """Of at most 40: half of them on a ground that none of their colour was shown on."""
    wanted = random.Random(3).sample(list(product(COLOURS, GROUNDS)), count)
    drawn = pictures(liquid, [a(colour, "house", ground) for colour, ground in wanted])
    return list(map(is_house, drawn, *zip(*wanted, strict=True)))


def zorn_right(liquid: Any, count: int) -> list[bool]:
    """Of things in zorn: two shapes of seven were never shown in it."""
    wanted = (list(product(SHAPES, (*GROUNDS, "black"))) * count)[:count]
    drawn = pictures(liquid, [a("zorn", shape, ground) for shape, ground in wanted])
    return [
        is_thing(pixels, "purple", shape) for pixels, (shape, _) in zip(drawn, wanted, strict=True)
    ]


def questions_right(liquid: Any, count: int) -> list[bool]:
    """Of other pictures than those that were asked about."""
    rng = random.Random(4)
    return [
        liquid.answer(Image.fromarray(pixels), QUESTION, max_tokens=16) == answer
        for pixels, answer in (shown(i, rng) for i in range(count))
    ]
