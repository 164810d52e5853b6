"""Questions about some of several things: how they stand, how they compare, which is meant."""

import random

from training.language.facts import (
    FAR,
    NEAR,
    Asked,
    Fact,
    Facts,
    a_hue,
    differ_in_size,
    named_once,
    relative_side,
    stands,
    third,
    yes,
)
from training.language.words import article
from training.scenes import PLACES
from training.world import COLOURS, SHAPES

_WORDINGS = {
    "left of": ("left of", "to the left of", "on the left of", "left of"),
    "right of": ("right of", "to the right of", "on the right of", "right of"),
    "above": ("above", "over", "on top of", "above", "higher than"),
    "below": ("below", "under", "beneath", "below", "underneath"),
}
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def relation(facts: Facts, rng: random.Random) -> Asked | None:
    """Open: what is left of the star? Or yes and no."""
    named = named_once(facts, rng)
    if len(facts.things) < 2 or named is None:
        return None
    thing, name = named
    others = [t for t in facts.things if t is not thing]
    other = rng.choice(others)
    relation = relative_side(other, thing)
    if rng.random() < 0.3:
        relation = rng.choice(list(_OPPOSITE))
    how = rng.choice(_WORDINGS[relation])
    if rng.random() < 0.55:
        found = [(t, stands(t, relation, thing)) for t in others]
        if any(clear is None for _, clear in found):
            return None
        fitting = [t for t, clear in found if clear]
        forms = ("what is {h} the {n}?", "what is {h} the {n}?", "what's {h} the {n}?",
                 "which shape is {h} the {n}?", "what do you see {h} the {n}?", "what stands {h} the {n}?",
                 "which thing is {h} the {n}?", "what lies {h} the {n}?", "tell me what is {h} the {n}")  # fmt: skip
        if len(fitting) > 1:
            return None
        answer = article(fitting[0].name) if fitting else "nothing"
        return rng.choice(forms).format(h=how, n=name), answer
    if sum(t.name == other.name for t in facts.things) > 1:
        return None
    if rng.random() < 0.5:
        relation = rng.choice(
            (_OPPOSITE[relation], _OPPOSITE[relation], rng.choice(list(_OPPOSITE)))
        )
        how = rng.choice(_WORDINGS[relation])
    true = stands(other, relation, thing)
    if true is None:
        return None
    other_name = other.name
    if sum(t.shape == other.shape for t in facts.things) == 1 and rng.random() < 0.5:
        other_name = other.shape
    forms = ("is the {o} {h} the {n}?", "is the {o} {h} the {n}?", "is {o} {h} {n}?",
             "do you see the {o} {h} the {n}?", "the {o} is {h} the {n}, right?")  # fmt: skip
    return rng.choice(forms).format(o=other_name, h=how, n=name), yes(true)


def compare(facts: Facts, rng: random.Random) -> Asked | None:
    """Which of two is larger; are they the same."""
    if len(facts.things) != 2:
        return None
    a, b = facts.things
    dice = rng.random()
    both = rng.choice(
        ("they", "they", "the two", "the shapes", "both", "the two shapes", "the things")
    )
    if dice < 0.4:
        if not differ_in_size(a, b):
            return None
        big = a.side > b.side
        larger, smaller = (a, b) if big else (b, a)
        if a.name == b.name:
            return None
        if rng.random() < 0.35:
            asked = rng.choice((larger, smaller))
            more = rng.random() < 0.5
            word = rng.choice(("larger", "bigger")) if more else "smaller"
            other = smaller if asked is larger else larger
            first, second = asked.name, other.name
            if a.shape != b.shape and rng.random() < 0.6:
                first, second = asked.shape, other.shape
            return f"is the {first} {word} than the {second}?", yes((asked is larger) == more)
        more = rng.random() < 0.5
        word = rng.choice(
            ("larger", "bigger", "largest", "biggest") if more else ("smaller", "smallest")
        )
        forms = ("which is {}?", "which one is {}?", "which shape is {}?", "what is {}?",
                 "which thing is {}?", "which of them is {}?", "which is the {} one?")  # fmt: skip
        return rng.choice(forms).format(word), f"the {(larger if more else smaller).name}"
    if dice < 0.65:
        forms = ("are {} the same {}?", "do {} have the same {}?", "are {} of the same {}?",
                 "have {} the same {}?")  # fmt: skip
        return rng.choice(forms).format(both, a_hue(rng)), yes(a.colour == b.colour)
    if dice < 0.85:
        forms = ("are {} the same shape?", "do {} have the same shape?", "is it the same shape twice?",
                 "are {} of the same shape?")  # fmt: skip
        return rng.choice(forms).format(both), yes(a.shape == b.shape)
    ratio = max(a.side, b.side) / min(a.side, b.side)
    if 1.08 < ratio < 1.3:
        return None
    forms = ("are {} the same size?", "are {} equally big?", "do {} have the same size?")
    return rng.choice(forms).format(both), yes(ratio < 1.2)


_AT = {
    "left": ("on the left", "on the left", "on the left side", "at the left", "to the left"),
    "right": ("on the right", "on the right", "on the right side", "at the right", "to the right"),
    "top": ("at the top", "at the top", "on top", "in the upper half", "at the upper edge"),
    "bottom": ("at the bottom", "at the bottom", "in the lower half", "at the lower edge"),
    "middle": ("in the middle", "in the middle", "in the center", "in the centre", "at the center"),
}


def _stands_at(thing: Fact, place: str) -> bool | None:
    """Whether it stands at a place; None near an edge between two places."""
    vertical, horizontal = PLACES[place]
    corner = "middle" not in (vertical, horizontal)
    wanted = []
    if corner or place == "middle" or horizontal != "middle":
        wanted.append((thing.x, horizontal, ("left", "right")))
    if corner or place == "middle" or vertical != "middle":
        wanted.append((thing.y, vertical, ("top", "bottom")))
    found: list[bool | None] = []
    for value, name, (low, high) in wanted:
        if min(abs(value - NEAR), abs(value - FAR)) < 0.03:
            found.append(None)
        else:
            found.append(name == (low, "middle", high)[third(value)])
    return False if False in found else None if None in found else True


def at(facts: Facts, rng: random.Random) -> Asked | None:
    """What stands at a place; or whether something does."""
    place = rng.choice(list(PLACES))
    where = rng.choice(
        _AT.get(place, (f"in the {place} corner", f"in the {place}", f"at the {place}"))
    )
    there = [(thing, _stands_at(thing, place)) for thing in facts.things]
    if rng.random() < 0.4:
        named = named_once(facts, rng)
        true = named and _stands_at(named[0], place)
        if named is None or true is None:
            return None
        forms = ("is the {n} {w}?", "is the {n} {w}?", "do you see the {n} {w}?", "the {n} is {w}, right?")  # fmt: skip
        return rng.choice(forms).format(n=named[1], w=where), yes(bool(true))
    fitting = [thing for thing, true in there if true]
    if len(fitting) > 1 or any(true is None for _, true in there):
        return None
    if not fitting and rng.random() < 0.7:
        return None
    if fitting and rng.random() < 0.25:
        forms = ("what {h} is the shape {w}?", "what {h} is the thing {w}?", "which {h} is {w}?")
        return rng.choice(forms).format(h=a_hue(rng), w=where), fitting[0].colour
    forms = ("what is {w}?", "what is {w}?", "what's {w}?", "which shape is {w}?", "what do you see {w}?",
             "what is there {w}?", "which one is {w}?", "what stands {w}?", "which thing is {w}?")  # fmt: skip
    return rng.choice(forms).format(w=where), article(fitting[0].name) if fitting else "nothing"


def either(facts: Facts, rng: random.Random) -> Asked | None:
    """One of two that the question names."""
    named = named_once(facts, rng)
    if named is None:
        return None
    thing, name = named
    alone = len(facts.things) == 1
    the = rng.choice(("it", "this", f"the {name}")) if alone else f"the {name}"
    if thing.colour not in name and rng.random() >= 0.4:
        first, second = _shuffled(thing.colour, list(COLOURS), rng)
        return f"is {the} {first} or {second}?", thing.colour
    first, second = _shuffled(thing.shape, list(SHAPES), rng)
    if the == f"the {name}":  # which must not say the shape
        the = f"the {thing.colour} {rng.choice(('thing', 'shape', 'one'))}"
    if sum(t.colour == thing.colour for t in facts.things) > 1:
        return None
    return f"is {the} {article(first)} or {article(second)}?", thing.shape


def _shuffled(true: str, all_values: list[str], rng: random.Random) -> list[str]:
    """What is true and something else, in any order."""
    pair = [true, rng.choice([value for value in all_values if value != true])]
    rng.shuffle(pair)
    return pair


def same(facts: Facts, rng: random.Random) -> Asked | None:
    """Whether two named things share a colour, a shape or a size; which of two is larger."""
    if len(facts.things) < 2:
        return None
    a, b = rng.sample(facts.things, 2)
    shapes = [t.shape for t in facts.things]
    if a.name == b.name or any(sum(t.name == x.name for t in facts.things) > 1 for x in (a, b)):
        return None
    short = all(shapes.count(x.shape) == 1 for x in (a, b))
    one, two = (a.shape, b.shape) if short and rng.random() < 0.75 else (a.name, b.name)
    dice = rng.random()
    if dice < 0.4 and one == a.shape:
        hue = a_hue(rng)
        forms = ("is the {a} the same {h} as the {b}?", "do the {a} and the {b} have the same {h}?",
                 "does the {a} have the same {h} as the {b}?", "are the {a} and the {b} the same {h}?")  # fmt: skip
        return rng.choice(forms).format(a=one, b=two, h=hue), yes(a.colour == b.colour)
    ratio = a.side / b.side
    if not differ_in_size(a, b):
        if 1 / 1.08 < ratio < 1.08 and dice < 0.6:
            forms = ("is the {a} as big as the {b}?", "are the {a} and the {b} the same size?")
            return rng.choice(forms).format(a=one, b=two), "yes"
        return None
    larger, smaller = (a, b) if ratio > 1 else (b, a)
    more = rng.random() < 0.5
    word = rng.choice(("larger", "bigger")) if more else "smaller"
    if dice < 0.8:
        forms = ("which is {w}, the {a} or the {b}?", "what is {w}, the {a} or the {b}?",
                 "is the {a} or the {b} {w}?", "which one is {w}: the {a} or the {b}?")  # fmt: skip
        return rng.choice(forms).format(
            w=word, a=one, b=two
        ), f"the {(larger if more else smaller).name}"
    return f"is the {one} {word} than the {two}?", yes((a is larger) == more)


def most(facts: Facts, rng: random.Random) -> Asked | None:
    """The largest or smallest of three or four."""
    if len(facts.things) < 3:
        return None
    by_size = sorted(facts.things, key=lambda t: -t.side)
    more = rng.random() < 0.5
    first, second = (by_size[0], by_size[1]) if more else (by_size[-1], by_size[-2])
    if not differ_in_size(first, second):
        return None
    if sum(t.name == first.name for t in facts.things) > 1:
        return None
    word = rng.choice(("largest", "biggest") if more else ("smallest", "tiniest"))
    forms = ("which is the {} one?", "which shape is the {}?", "what is the {} shape?", "which one is the {}?",
             "what is the {} thing?", "which is the {}?")  # fmt: skip
    return rng.choice(forms).format(word), f"the {first.name}"


_ENDS = {
    "left": ("on the left", "to the left", "further left"),
    "right": ("on the right", "to the right", "further right"),
    "top": ("at the top", "on top", "higher", "above"),
    "bottom": ("at the bottom", "lower", "below"),
}


def which(facts: Facts, rng: random.Random) -> Asked | None:
    """One of several that share a shape or a colour: which star is larger? What colour is it?"""
    by_shape = rng.random() < 0.75
    kinds = [t.shape if by_shape else t.colour for t in facts.things]
    several = sorted({k for k in kinds if kinds.count(k) > 1})
    if not several:
        return None
    kind = rng.choice(several)
    things = [t for t, k in zip(facts.things, kinds, strict=True) if k == kind]
    noun = kind if by_shape else f"{kind} {rng.choice(('thing', 'shape', 'one'))}"
    pick = _by_size if rng.random() < 0.5 else _by_place
    thing, questions, names = pick(things, noun, rng)
    if thing is None or [t.name for t in facts.things].count(thing.name) > 1:
        return None
    if rng.random() < 0.65:
        return rng.choice(questions), f"the {thing.name}"
    the = rng.choice(names)
    if not by_shape:
        return f"what shape is {the}?", thing.shape
    if rng.random() < 0.5:
        return f"what {a_hue(rng)} is {the}?", thing.colour
    colour = rng.choice([t.colour for t in things])
    return f"is {the} {colour}?", yes(colour == thing.colour)


# A thing, if it is clear which, questions whose answer it is, and what it may be called.
Picked = tuple[Fact | None, tuple[str, ...], tuple[str, ...]]


def _by_size(things: list[Fact], noun: str, rng: random.Random) -> Picked:
    """The largest or smallest."""
    more = rng.random() < 0.5
    first, second = sorted(things, key=lambda t: -t.side if more else t.side)[:2]
    words = ("largest", "biggest") if more else ("smallest",)
    if len(things) == 2:
        words += ("larger", "bigger") if more else ("smaller",)
    word = rng.choice(words)
    questions = (f"which {noun} is {word}?", f"which {noun} is the {word}?",
                 f"which {noun} is {word}, do you think?", f"which is the {word} {noun}?")  # fmt: skip
    names = (f"the {word} {noun}", f"the {noun} that is {word}")
    return first if differ_in_size(first, second) else None, questions, names


def _by_place(things: list[Fact], noun: str, rng: random.Random) -> Picked:
    """The one furthest to one side."""
    end = rng.choice(list(_ENDS))
    sign = -1 if end in ("right", "bottom") else 1

    def place(thing: Fact) -> float:
        return sign * (thing.x if end in ("left", "right") else thing.y)

    first, second = sorted(things, key=place)[:2]
    said = rng.choice(_ENDS[end])
    questions = (f"which {noun} is {said}?", f"which {noun} is {said}?",
                 f"which {noun} do you see {said}?", f"which {noun} stands {said}?")  # fmt: skip
    names = (f"the {end} {noun}", f"the {noun} {rng.choice(_ENDS[end][:2])}")
    return first if place(second) - place(first) > 0.14 else None, questions, names
