"""The yardstick: what people type to the model, and what counts as right.

`everyday.jsonl` was written by hand, from no template, and is never used in training. Each line
is one of

    {"kind": "prompt", "prompt": TEXT, PICTURE}
    {"kind": "question", "off_grid": BOOL, "scene": SCENE, "question": TEXT, ANSWER}
    {"kind": "unknown", "prompt": TEXT}                         nothing in it is known
    {"kind": "conversation", "turns": [{"user": TEXT, "picture": {PICTURE} or null, ANSWER}]}

PICTURE, what must be drawn:
    "things": [{"colour", "shape", "size", "count"}]  each a name, a list of names, or null (any);
        a count is a list of numbers, [1] if left out. There must be no other things.
    "background": a name, a list, null (a light one: white or cream) or "any"; "style": "plain" if
        left out
    "relations": [[0, "left of", 1], ...] between groups of things, by their place in the list;
        "between" takes two others, or one group of two
    "place": where the first thing stands, such as "top left" or "middle"
    "arrangement": "row", all side by side
SCENE, the picture a question is about: "background", "style", "width" (128 if left out) and
    "things", on the grid {"shape", "colour", "size", "column", "row"} or anywhere {"shape",
    "colour", "x", "y", "side", "angle"}; "palette": "web" paints in the pure colours that other
    programs have.
ANSWER, one of these must hold: "answers" (texts; compared after `normalized`), "describe" (the
    text names exactly the things of the picture), "where" (the text places this thing rightly).
    A turn with neither picture nor answer takes any text, but no picture.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.judge import Reading, Seen
from training.world import (
    BACKGROUNDS,
    CELL,
    COLOURS,
    SHAPES,
    SPANS,
    FreeThing,
    Scene,
    Thing,
    render,
    render_free,
)

LIGHT = ("white", "cream")
OUTSIDE = "I only know simple shapes."
WEB = {
    "red": (255, 0, 0),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "green": (0, 128, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "pink": (255, 105, 180),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
JPEG_QUALITY = 85
# Sample pictures of Python packages that training never reads, as photographs and textures.
HELD_OUT_PICTURES = {
    "skimage": [
        "data/rocket.jpg",
        "data/motorcycle_left.png",
        "data/motorcycle_right.png",
        "data/hubble_deep_field.jpg",
        "data/retina.jpg",
        "data/brick.png",
        "data/gravel.png",
        "data/coins.png",
        "data/moon.png",
        "data/clock_motion.png",
        "data/page.png",
        "data/text.png",
        "data/logo.png",
        "data/microaneurysms.png",
        "data/cell.png",
    ],
    "sklearn": ["datasets/images/flower.jpg"],
    "matplotlib": [
        "mpl-data/sample_data/grace_hopper.jpg",
        "mpl-data/sample_data/Minduka_Present_Blue_Pack.png",
    ],
    "pywt": ["data/aero.npz", "data/ascent.npz"],
}


def load(kind: str) -> list[dict[str, Any]]:
    """The entries of one kind, in their order."""
    lines = (Path(__file__).parent / "everyday.jsonl").read_text("utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


# Pictures that are shown


def shown(scene: dict[str, Any]) -> Image.Image:
    """The picture that a question is about; those off the grid come from a JPEG file."""
    background, style = scene["background"], scene.get("style", "plain")
    width = scene.get("width", 128)
    if all("column" in thing for thing in scene["things"]):
        things = tuple(Thing(**thing) for thing in scene["things"])
        return Image.fromarray(render(Scene(things, background, style, width // CELL)))
    tones = WEB if scene.get("palette") == "web" else {}
    free = [
        FreeThing(t["shape"], tones.get(t["colour"], t["colour"]), *(t[k] for k in _PLACE))
        for t in scene["things"]
    ]
    pixels = render_free(free, tones.get(background, background), style, (width, 128))
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file).convert("RGB")


_PLACE = ("x", "y", "side", "angle")


def as_reading(scene: dict[str, Any]) -> Reading:
    """What a judge would read in the picture of a scene."""
    things = []
    for thing in scene["things"]:
        if "column" in thing:
            side = SPANS[thing["size"]] * CELL
            x, y = thing["column"] * CELL + side / 2, thing["row"] * CELL + side / 2
        else:
            x, y, side = thing["x"], thing["y"], thing["side"]
        things.append(Seen(thing["shape"], thing["colour"], x, y, side, 1.0))
    style, width = scene.get("style", "plain"), scene.get("width", 128)
    return Reading(tuple(things), scene["background"], style, 0.0, width, 128)


# Pictures that are drawn


def _allows(wanted: str | list[str] | None, found: str) -> bool:
    return wanted is None or found == wanted or (isinstance(wanted, list) and found in wanted)


def _is(group: dict[str, Any], seen: Seen) -> bool:
    return (
        seen.shape != "unclear"
        and _allows(group["colour"], seen.colour)
        and _allows(group["shape"], seen.shape)
        and _allows(group.get("size"), seen.size)
    )


def _assignments(groups: list[dict], things: tuple[Seen, ...]) -> Iterator[list[list[Seen]]]:
    """Ways to give every thing to a group that it belongs to, each group its number of things."""
    counts = [group.get("count", [1]) for group in groups]
    for numbers in product(*counts):
        if sum(numbers) != len(things):
            continue
        owners = [i for i, number in enumerate(numbers) for _ in range(number)]
        for order in set(permutations(owners)):
            if all(_is(groups[i], thing) for i, thing in zip(order, things, strict=True)):
                yield [
                    [t for i, t in zip(order, things, strict=True) if i == group]
                    for group in range(len(groups))
                ]


def _holds(relation: list, groups: list[list[Seen]]) -> bool:
    first, name, *others = relation
    a, b = groups[first], [thing for other in others for thing in groups[other]]
    if name == "between":
        x, y = np.mean([t.x for t in b]), np.mean([t.y for t in b])
        spread = max(np.ptp([t.x for t in b]), np.ptp([t.y for t in b]))
        return all(np.hypot(t.x - x, t.y - y) < spread / 2 for t in a)
    far = {
        "left of": lambda p, q: q.x - p.x,
        "right of": lambda p, q: p.x - q.x,
        "above": lambda p, q: q.y - p.y,
        "below": lambda p, q: p.y - q.y,
        "beside": lambda p, q: abs(p.x - q.x),
    }[name]
    return all(far(p, q) > CELL for p in a for q in b)


def places(thing: Seen, width: int, height: int) -> set[str]:
    """The words for where a thing stands; near the middle both words of an axis may be true."""
    x, y = thing.x / width, thing.y / height
    words = {
        "left": x < 0.45,
        "right": x > 0.55,
        "top": y < 0.45,
        "bottom": y > 0.55,
    }
    found = {word for word, holds in words.items() if holds}
    return found | ({"middle"} if 0.3 <= x <= 0.7 or 0.3 <= y <= 0.7 else set())


def in_order(picture: dict[str, Any], reading: Reading) -> Reading:
    """A reading with its things in the order of the groups they belong to."""
    for way in _assignments(picture["things"], reading.things):
        return replace(reading, things=tuple(thing for group in way for thing in group))
    return reading


def _is_in_place(place: str, thing: Seen, reading: Reading) -> bool:
    if place == "middle":
        x, y = thing.x / reading.width, thing.y / reading.height
        return max(abs(x - 0.5), abs(y - 0.5)) < 0.15
    return set(place.split()) <= places(thing, reading.width, reading.height)


def wrong(picture: dict[str, Any], reading: Reading) -> str:
    """What is wrong with a drawn picture, the gravest first; "" if it is right."""
    background = picture["background"]
    if not reading.things and picture["things"]:
        return "nothing drawn"
    if any(thing.shape == "unclear" for thing in reading.things):
        return "unclear shape"
    counts = [group.get("count", [1]) for group in picture["things"]]
    if not sum(map(min, counts)) <= len(reading.things) <= sum(map(max, counts)):
        return "number of things"
    ways = list(_assignments(picture["things"], reading.things))
    if not ways:
        loose = [{**group, "colour": None} for group in picture["things"]]
        if any(_assignments(loose, reading.things)):
            return "colour"
        loose = [{**group, "shape": None} for group in picture["things"]]
        if any(_assignments(loose, reading.things)):
            return "shape"
        loose = [{**group, "size": None} for group in picture["things"]]
        return "size" if any(_assignments(loose, reading.things)) else "colour and shape"
    wanted = list(LIGHT) if background is None else None if background == "any" else background
    if not _allows(wanted, reading.background):
        return "background"
    if reading.style != picture.get("style", "plain") and background != "any":
        return "style"
    if not any(all(_holds(r, way) for r in picture.get("relations", [])) for way in ways):
        return "relation"
    place = picture.get("place")
    if place and not any(_is_in_place(place, way[0][0], reading) for way in ways):
        return "place"
    if picture.get("arrangement") == "row":
        xs, ys = ([getattr(t, a) for t in reading.things] for a in "xy")
        if np.ptp(ys) > CELL or min(np.diff(sorted(xs)), default=99) < CELL:
            return "arrangement"
    return ""


# Answers

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SAME = {
    "grey": "gray",
    "colour": "color",
    "colours": "colors",
    "no one": "none",
    "zero": "none",
    "nothing": "none",
    "centre": "middle",
    "center": "middle",
    "upper": "top",
    "lower": "bottom",
    "yeah": "yes",
    "yep": "yes",
    "nope": "no",
} | {str(i): number for i, number in enumerate(_NUMBERS)}


def normalized(text: str) -> str:
    """Lower case, without articles, punctuation and what only introduces an answer."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    text = " ".join(_SAME.get(w, w) for w in words if w not in ("a", "an", "the"))
    text = re.sub(r"^(it's|it is|this is|that is|there is|there are|they are|i see) ", "", text)
    return re.sub(r"^(yes|no)\b.*", r"\1", text)


_SINGULAR = {shape + ("es" if shape == "cross" else "s"): shape for shape in SHAPES}
_SINGULAR |= {shape: shape for shape in SHAPES}


def described(text: str) -> Counter[tuple[str | None, str]]:
    """The things that a text names, with their numbers: "two red circles" or "a red circle"."""
    found: Counter[tuple[str | None, str]] = Counter()
    number, colour = 1, None
    for word in normalized(text).split():
        if word in _NUMBERS:
            number = _NUMBERS.index(word)
        elif word in COLOURS:
            colour = word
        elif word in _SINGULAR:
            found[colour, _SINGULAR[word]] += number
            number, colour = 1, None
        elif word not in SPANS:
            number, colour = 1, None
    return found


def _background_named(text: str) -> str | None:
    """The background that a description names, if it does."""
    match = re.search(r"on (?:\w+ )?(\w+)(?: \w+)? background", normalized(text))
    words = match.group(0).split() if match else []
    return next((word for word in words if word in BACKGROUNDS), None)


def is_right(answer: str, entry: dict[str, Any], reading: Reading) -> bool:
    """Whether an answer about the picture counts as right."""
    said = normalized(answer)
    if "answers" in entry and said in map(normalized, entry["answers"]):
        return True
    if entry.get("describe") and described(answer) == Counter(t.pair for t in reading.things):
        return _background_named(answer) in (None, reading.background)
    if "where" in entry and entry["where"] < len(reading.things):
        return _is_there(said, reading, entry["where"])
    return False


def _is_there(said: str, reading: Reading, index: int) -> bool:
    """Whether words such as "top left" or "left of red circle" place a thing rightly."""
    thing = reading.things[index]
    words = set(said.split())
    other = next((t for i, t in enumerate(reading.things) if i != index and t.shape in words), None)
    if other is not None and re.search(r"\b(of|above|below|under|over|next)\b", said):
        holds = {
            "left": thing.x < other.x - CELL / 2,
            "right": thing.x > other.x + CELL / 2,
            "above": thing.y < other.y - CELL / 2,
            "below": thing.y > other.y + CELL / 2,
        }
        named = words & set(holds)
        return bool(named) and all(holds[word] for word in named)
    named = words & {"left", "right", "top", "bottom", "middle"}
    if named == {"middle"}:
        return _is_in_place("middle", thing, reading)
    return bool(named) and named <= places(thing, reading.width, reading.height)
