"""Random scenes: which layouts there are, and where their things may stand."""

import random

from training.world import (
    COLOURS,
    COLUMNS,
    GROUNDS,
    HELD_OUT_PAIRS,
    SHAPES,
    STYLES,
    WIDE_COLUMNS,
    Scene,
    Thing,
)

LAYOUTS = {
    0: ("empty",),
    1: ("one",),
    2: ("beside", "stacked"),
    3: ("row", "pair_above", "pair_below"),
}
PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
SEEN_PAIRS = tuple(pair for pair in PAIRS if pair not in HELD_OUT_PAIRS)


def _cells(layout: str, sizes: list[str], wide: bool, rng: random.Random) -> list[tuple[int, int]]:
    """(column, row) of each thing; there is always a free cell between two things."""
    shift = 2 if wide else 0
    large = [size == "large" for size in sizes]
    middle_row = rng.choice((2, 3))
    if layout == "one":
        choices = (2, 3) if large[0] else (2, 3, 4)
        return [(rng.choice(choices) + shift, rng.choice(choices))]
    if layout == "beside":
        left, right = (rng.choice((1, 2)), 8) if wide else (rng.choice((0, 1)), 5)
        columns = [left if large[0] else 1 + shift // 2, right]
        return [(c, middle_row if big else 3) for c, big in zip(columns, large, strict=True)]
    if layout == "stacked":
        middle = rng.choice((2, 3))
        rows = [rng.choice((0, 1)) if large[0] else 1, 5]
        return [(shift + (middle if b else 3), r) for r, b in zip(rows, large, strict=True)]
    if layout == "row":
        if wide:
            return [(4 * i + (0 if b else 1), middle_row if b else 3) for i, b in enumerate(large)]
        return [(0, 3), (3, 3), (6, 3)]
    top = [(0 if large[0] else 1, 0), (5, 0)]
    if layout == "pair_above":
        bottom = [(2 if large[2] else 3, 5)]
        places = top + bottom
    else:
        places = [(2 if large[0] else 3, 0), (0 if large[1] else 1, 5), (5, 5)]
    return [(column + shift, row) for column, row in places]


def random_scene(
    rng: random.Random,
    *,
    count: int,
    wide: bool = False,
    pairs: tuple[tuple[str, str], ...] = SEEN_PAIRS,
) -> Scene:
    """A scene of `count` things with different (colour, shape) pairs taken from `pairs`.

    Half of the scenes with several things repeat a colour or a shape where chance allows: only
    those teach a reader to look at both.
    """
    layout = rng.choice(LAYOUTS[count])
    chosen = [rng.choice(pairs)] if count else []
    while len(chosen) < count:
        near = [p for p in pairs if (p[0] == chosen[0][0]) != (p[1] == chosen[0][1])]
        pair = rng.choice(near if near and rng.random() < 0.3 else pairs)
        if pair not in chosen:
            chosen.append(pair)
    sizes = [rng.choice(("small", "large")) for _ in chosen]
    if layout == "row" and not wide:
        sizes = ["small"] * 3
    places = _cells(layout, sizes, wide, rng) if count else []
    things = tuple(
        Thing(shape, colour, size, column, row)
        for (colour, shape), size, (column, row) in zip(chosen, sizes, places, strict=True)
    )
    return Scene(
        layout,
        things,
        rng.choice(tuple(GROUNDS)),
        rng.choice(STYLES),
        WIDE_COLUMNS if wide else COLUMNS,
    )


def training_scene(rng: random.Random, *, count: int, wide: bool = False) -> Scene:
    """A scene that training may see."""
    while True:
        scene = random_scene(rng, count=count, wide=wide)
        if not scene.is_held_out:
            return scene


def held_out_scene(rng: random.Random, *, count: int, wide: bool = False) -> Scene:
    """A scene whose combination of facts training never sees, made of seen pairs."""
    while True:
        scene = random_scene(rng, count=count, wide=wide)
        if scene.is_held_out:
            return scene


def unseen_pair_scene(rng: random.Random, *, count: int, wide: bool = False) -> Scene:
    """A scene with at least one (colour, shape) pair that training never sees."""
    while True:
        scene = random_scene(rng, count=count, wide=wide, pairs=PAIRS)
        if scene.has_held_out_pair:
            return scene
