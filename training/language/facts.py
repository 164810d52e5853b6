"""What is true of a picture, and the caption that says it."""

import random
from dataclasses import dataclass
from math import ceil

from training.language.words import (
    COLOUR_WORDS,
    NUMBERS,
    SHAPE_WORDS,
    USUAL,
    article,
    listed,
    plural,
)
from training.world import ROWS, Scene

NEAR, FAR = 0.38, 0.62  # where left, middle and right (top, middle and bottom) meet
CAPTION_CUE = "The caption of this image is:"


Asked = tuple[str, str]  # a question and its answer


def yes(true: bool) -> str:
    return "yes" if true else "no"


def third(share: float) -> int:
    """In which third of a picture's width or height a place is: 0, 1 or 2."""
    return (share > NEAR) + (share > FAR)


@dataclass(frozen=True)
class Fact:
    """A thing in a picture; middle and side as shares of the picture's width and height."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    side: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        across = "left" if self.x < NEAR else "right" if self.x > FAR else ""
        down = "top" if self.y < NEAR else "bottom" if self.y > FAR else ""
        if across and down:
            return f"in the {down} {across} corner"
        if down:
            return f"at the {down}"
        return f"on the {across}" if across else "in the middle"


@dataclass(frozen=True)
class Facts:
    """What a picture shows, in the order in which the things' last codes come: from the top, and
    left to right. Whoever reads the codes one by one can say them in that order."""

    things: tuple[Fact, ...]
    background: str
    style: str = "plain"


def ordered(things: list[Fact]) -> tuple[Fact, ...]:
    """By the row of codes that a thing ends in, then left to right."""
    return tuple(sorted(things, key=lambda t: (ceil((t.y + t.side / 2) * ROWS - 0.1), t.x)))


def facts_of(scene: Scene) -> Facts:
    """The facts of a scene on the grid."""
    things = [
        Fact(t.shape, t.colour, t.size, t.x / scene.columns, t.y / ROWS, t.span / ROWS)
        for t in scene.things
    ]
    return Facts(ordered(things), scene.background, scene.style)


def differ_in_size(a: Fact, b: Fact) -> bool:
    """Whether one of two things is plainly the larger: by three tenths at least."""
    return max(a.side, b.side) >= 1.3 * min(a.side, b.side)


def relative_side(a: Fact, b: Fact) -> str:
    """How a stands to b: left of, right of, above, below."""
    across, down = b.x - a.x, b.y - a.y
    if abs(across) >= abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def background_name(facts: Facts) -> str:
    striped = "striped " if facts.style == "striped" else ""
    return f"{striped}{facts.background} background"


def things_phrase(facts: Facts, *, sizes: bool = False) -> str:
    """The things in the model's own words."""
    names = [f"{t.size} {t.name}" if sizes else t.name for t in facts.things]
    if not names:
        return "nothing"
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    parts = [
        article(name) if n == 1 else f"{NUMBERS[n]} {plural(name)}" for name, n in counts.items()
    ]
    if len(parts) == 2 and len(names) == 2:
        a, b = facts.things
        side = relative_side(a, b)
        if side in ("below", "right of"):
            parts.reverse()
        return f"{parts[0]} {'above' if side in ('above', 'below') else 'left of'} {parts[1]}"
    return listed(parts)


def caption(facts: Facts, *, sizes: bool = True) -> str:
    """The one caption that the model writes: everything, always in the same form."""
    background = article(background_name(facts))
    if not facts.things:
        return f"an empty {background_name(facts)}"
    return f"{things_phrase(facts, sizes=sizes)} on {background}"


def named_once(facts: Facts, rng: random.Random) -> tuple[Fact, str] | None:
    """A thing and a name that only it has."""
    choices = []
    for thing in facts.things:
        if sum(t.shape == thing.shape for t in facts.things) == 1:
            choices.append((thing, a_shape(thing.shape, rng)))
        if sum(t.colour == thing.colour for t in facts.things) == 1:
            choices.append((thing, f"{thing.colour} {rng.choice(('thing', 'shape', 'one'))}"))
        if sum(t.name == thing.name for t in facts.things) == 1:
            choices += [(thing, thing.name)] * 2
    return rng.choice(choices) if choices else None


def stands(a: Fact, relation: str, b: Fact) -> bool | None:
    """Whether a is left of b, for example; None if it is hard to say."""
    gap = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}
    across = abs(b.x - a.x) if relation in ("above", "below") else abs(b.y - a.y)
    if gap[relation] > 0.14 and gap[relation] > 0.4 * across:
        return True
    return False if gap[relation] < 0.04 else None


def a_shape(shape: str, rng: random.Random) -> str:
    return rng.choice(SHAPE_WORDS[shape][:USUAL]) if rng.random() < 0.12 else shape


def a_colour(colour: str, rng: random.Random) -> str:
    return rng.choice(COLOUR_WORDS[colour][:8]) if rng.random() < 0.07 else colour


def a_hue(rng: random.Random) -> str:
    return rng.choice(("color", "colour"))
