"""Where things stand, and how a picture changes: few places, so that a prompt settles the codes."""

import random
from collections.abc import Sequence
from dataclasses import replace

from training.world import (
    BACKGROUNDS,
    COLOURS,
    COLUMNS,
    PAIRS,
    SHAPES,
    STYLES,
    WIDE_COLUMNS,
    Scene,
    Thing,
)

# Names of places: vertical, horizontal.
PLACES = {
    "middle": ("middle", "middle"),
    "top": ("top", "middle"),
    "bottom": ("bottom", "middle"),
    "left": ("middle", "left"),
    "right": ("middle", "right"),
    "top left": ("top", "left"),
    "top right": ("top", "right"),
    "bottom left": ("bottom", "left"),
    "bottom right": ("bottom", "right"),
}
# Where the things of each arrangement stand, in order. Rows and columns of three are apart.
ARRANGEMENTS: dict[str, tuple[str, ...]] = {
    "empty": (),
    "one": ("middle",),
    "beside": ("left", "right"),
    "stacked": ("top", "bottom"),
    "row": ("left", "middle", "right"),
    "column": ("top", "middle", "bottom"),
    "pair_above": ("top left", "top right", "bottom"),
    "pair_below": ("top", "bottom left", "bottom right"),
    "four": ("top left", "top right", "bottom left", "bottom right"),
}
_DEFAULT = {0: "empty", 1: "one", 2: "beside", 3: "row", 4: "four"}
_ROWS = {"top": (1, 0), "middle": (3, 3), "bottom": (5, 5)}  # of a small thing, of a large one
_COLUMNS = {"left": (1, 0), "middle": (3, 3), "right": (5, 5)}
_WIDE = {"left": (2, 1), "middle": (5, 5), "right": (8, 8)}


def put(thing: Thing, place: str, columns: int = COLUMNS) -> Thing:
    """The thing at a named place."""
    vertical, horizontal = PLACES[place]
    large = thing.size == "large"
    across = _COLUMNS if columns == COLUMNS else _WIDE
    return thing.at(across[horizontal][large], _ROWS[vertical][large])


def arrange(
    things: Sequence[Thing],
    background: str,
    style: str = "plain",
    arrangement: str | None = None,
    columns: int = COLUMNS,
) -> Scene:
    """The scene with the things in their places; three in a row or column are made small."""
    name = arrangement or _DEFAULT[len(things)]
    if name in PLACES:  # one thing at a place of its own
        placed = [put(things[0], name, columns)]
    elif name == "row" and columns == COLUMNS:
        placed = [
            replace(t, size="small", column=c, row=3)
            for t, c in zip(things, (0, 3, 6), strict=False)
        ]
    elif name == "row":
        placed = [t.at(c, 3) for t, c in zip(things, (1, 5, 9), strict=False)]
    elif name == "column":
        middle = columns // 2 - 1
        placed = [
            replace(t, size="small", column=middle, row=r)
            for t, r in zip(things, (0, 3, 6), strict=False)
        ]
    elif name.startswith("at "):  # "at top left, bottom right"
        places = name.removeprefix("at ").split(", ")
        placed = [put(t, place, columns) for t, place in zip(things, places, strict=True)]
    else:
        places = list(ARRANGEMENTS[name])
        placed = [put(t, place, columns) for t, place in zip(things, places, strict=True)]
    return Scene(tuple(placed), background, style, columns, name)


def light_background(rng: random.Random) -> str:
    """The background of a prompt that names none."""
    return "white" if rng.random() < 0.85 else "cream"


def any_background(rng: random.Random) -> tuple[str, str]:
    """Background and style, the neutral ones more often than colours."""
    names = list(BACKGROUNDS)
    name = rng.choice(names[:6] if rng.random() < 0.55 else names)
    return name, "striped" if rng.random() < 0.25 else "plain"


def default_size(number: int, rng: random.Random) -> str:
    """The size of things whose size is left open."""
    return "large" if rng.random() < (0.8 if number == 1 else 0.65) else "small"


def free_colour(rng: random.Random, taken: Sequence[str] = ()) -> str:
    return rng.choice([c for c in COLOURS if c not in taken] or list(COLOURS))


def random_pairs(rng: random.Random, count: int, background: str) -> list[tuple[str, str]]:
    """Colours and shapes of `count` things; none has the background's colour.

    In a quarter of the pictures with several things some are alike, and others repeat a colour or a
    shape: only those teach a reader to look at both, and to count.
    """
    pairs = [pair for pair in PAIRS if pair[0] != background]
    chosen: list[tuple[str, str]] = []
    if count > 1 and rng.random() < 0.25:
        chosen = [rng.choice(pairs)] * rng.randint(2, count)
    while len(chosen) < count:
        pair = rng.choice(pairs)
        if chosen and rng.random() < 0.4:
            colour, shape = rng.choice(chosen)
            like = rng.random()
            if like < 0.4:
                pair = (colour, rng.choice(SHAPES))
            elif like < 0.8:
                pair = (rng.choice([c for c in COLOURS if c != background]), shape)
            else:
                pair = (colour, shape)
        chosen.append(pair)
    rng.shuffle(chosen)
    return chosen


def random_scene(rng: random.Random, *, count: int, wide: bool = False) -> Scene:
    """A scene of `count` things."""
    background, style = any_background(rng)
    chosen = random_pairs(rng, count, background)
    names = [n for n, places in ARRANGEMENTS.items() if len(places) == count]
    name = rng.choice(names)
    if count == 1 and rng.random() < 0.5:
        name = rng.choice(list(PLACES))
    if count == 2 and rng.random() < 0.15:
        name = "at " + ", ".join(
            rng.sample(["top left", "top right", "bottom left", "bottom right"], 2)
        )
    sizes = ("small", "large") if rng.random() < 0.7 else (rng.choice(("small", "large")),)
    things = [Thing(shape, colour, rng.choice(sizes)) for colour, shape in chosen]
    return arrange(things, background, style, name, WIDE_COLUMNS if wide else COLUMNS)


def anywhere(thing: Thing, side: int, rng: random.Random) -> Thing:
    """The thing in any cells of a picture of `side` x `side` cells."""
    limit = side - thing.span
    return thing.at(rng.randint(0, limit), rng.randint(0, limit))


def apart(thing: Thing, others: Sequence[Thing]) -> bool:
    """Whether a thing shares no cell with the others."""
    return all(
        max(abs(thing.x - t.x), abs(thing.y - t.y)) >= (thing.span + t.span) / 2 for t in others
    )


def scattered_scene(rng: random.Random, *, count: int) -> Scene:
    """A scene of at most `count` things in any cells, as other programs may draw it."""
    scene = random_scene(rng, count=count)
    things: list[Thing] = []
    for thing in scene.things:
        for _ in range(50):
            placed = anywhere(thing, COLUMNS, rng)
            if apart(placed, things):
                things.append(placed)
                break
    return replace(scene, things=tuple(things), arrangement="scattered")


__all__ = [
    "ARRANGEMENTS", "PLACES", "STYLES", "any_background", "anywhere", "apart", "arrange",
    "default_size", "free_colour", "light_background", "put", "random_pairs", "random_scene",
    "scattered_scene",
]  # fmt: skip
