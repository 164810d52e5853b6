"""Questions about all things of a picture at once: what they have in common, how many there are."""

import random

from training.language.facts import Asked, Facts, a_colour, a_hue, yes
from training.language.words import NUMBERS, article, listed, plural
from training.world import COLOURS, SHAPES


def everything(facts: Facts, rng: random.Random) -> Asked | None:
    """What all of them have in common, or not."""
    asked = _everything(facts, rng)
    # Most pictures would say no.
    return None if asked and asked[1] == "no" and rng.random() < 0.55 else asked


def _everything(facts: Facts, rng: random.Random) -> Asked | None:
    count = len(facts.things)
    if count < 2:
        return None
    colours, shapes = [t.colour for t in facts.things], [t.shape for t in facts.things]
    both = ["they both", "both", "both of them", "both shapes", "the two"] * 2
    they = ["they all", "all of them", "all the shapes", "all shapes", "all things"]
    who = rng.choice(they + (both if count == 2 else ["they"]))
    dice = rng.random()
    if dice < 0.4:
        colour = rng.choice(colours) if rng.random() < 0.8 else rng.choice(list(COLOURS))
        said = a_colour(colour, rng)
        true = all(c == colour for c in colours)
        if rng.random() < 0.4:
            forms = ("is everything {}?", "is everything {} here?", "is every shape {}?", "is each thing {}?")  # fmt: skip
            return rng.choice(forms).format(said), yes(true)
        return f"are {who} {said}?", yes(true)
    if dice < 0.6:
        shape = rng.choice(shapes) if rng.random() < 0.8 else rng.choice(SHAPES)
        forms = (
            f"are {who} {plural(shape)}?",
            f"is everything {article(shape)}?",
            f"is every shape {article(shape)}?",
        )
        return rng.choice(forms), yes(all(s == shape for s in shapes))
    values, what = (colours, rng.choice(("color", "colour"))) if dice < 0.85 else (shapes, "shape")
    alike = len(set(values)) == 1
    if rng.random() < 0.3:
        forms = ("are {} of different {}s?", "do {} have different {}s?", "have {} different {}s?")
        return rng.choice(forms).format(who, what), yes(len(set(values)) == len(values))
    forms = ("are {} the same {}?", "do {} have the same {}?", "have {} the same {}?", "are {} of the same {}?")  # fmt: skip
    return rng.choice(forms).format(who, what), yes(alike)


def number(facts: Facts, rng: random.Random) -> Asked | None:
    """How many kinds there are; yes and no about numbers; which of two there is more of."""
    dice = rng.random()
    if dice < 0.35:
        return _kinds(facts, rng)
    if dice < 0.75 or len(facts.things) < 2:
        return _so_many(facts, rng)
    return _more(facts, rng)


def _kinds(facts: Facts, rng: random.Random) -> Asked | None:
    by_colour = rng.random() < 0.6
    values = {t.colour if by_colour else t.shape for t in facts.things}
    if not values:
        return None
    forms = ("how many {} are there?", "how many {} do you see?", "how many {}?", "how many {} has it?")  # fmt: skip
    form = rng.choice(forms)
    colours = ("colors", "colours", "different colors", "different colours")
    kinds = rng.choice(colours if by_colour else ("different shapes", "kinds of shapes"))
    return form.format(kinds), NUMBERS[len(values)]


def _so_many(facts: Facts, rng: random.Random) -> Asked:
    there = len(facts.things)
    asked = there + rng.choice((0, 0, 0, -1, 1))
    noun = rng.choice(("shape", "thing", "object"))
    if facts.things and rng.random() < 0.5:
        thing = rng.choice(facts.things)
        noun, there = thing.shape, sum(t.shape == thing.shape for t in facts.things)
        if rng.random() < 0.3:
            noun, there = thing.name, sum(t.name == thing.name for t in facts.things)
        asked = there + rng.choice((0, 0, 1, -1))
    asked = max(1, min(4, asked))
    many, word = plural(noun), NUMBERS[asked]
    if rng.random() < 0.3:
        forms = ("is there more than one {o}?", "are there several {m}?", "do you see more than one {o}?")  # fmt: skip
        return rng.choice(forms).format(o=noun, m=many), yes(there > 1)
    if asked == 1:
        forms = ("is there only one {}?", "is there just one {}?", "is there exactly one {}?")
        return rng.choice(forms).format(noun), yes(there == 1)
    forms = ("are there {}?", "do you see {}?", "are there exactly {}?", "does the picture show {}?",
             "is it {}?", "are these {}?")  # fmt: skip
    return rng.choice(forms).format(f"{word} {many}"), yes(there == asked)


def _more(facts: Facts, rng: random.Random) -> Asked | None:
    shapes = sorted({t.shape for t in facts.things})
    if len(shapes) < 2:
        return None
    a, b = rng.sample(shapes, 2)
    first, second = (sum(t.shape == s for t in facts.things) for s in (a, b))
    if rng.random() < 0.5 and first != second:
        return f"are there more {plural(a)} or {plural(b)}?", plural(a if first > second else b)
    return f"are there more {plural(a)} than {plural(b)}?", yes(first > second)


def colours_of(facts: Facts, rng: random.Random) -> Asked | None:
    """The colour of several of one shape; the colours of all."""
    shapes = [t.shape for t in facts.things]
    several = sorted({s for s in shapes if shapes.count(s) > 1})
    if several and rng.random() < 0.7:
        shape = rng.choice(several)
        hues = list(dict.fromkeys(t.colour for t in facts.things if t.shape == shape))
        hue = a_hue(rng) + rng.choice(("", "s" if len(hues) > 1 else ""))
        forms = ("what {h} are the {s}?", "which {h} are the {s}?", "what's the {h} of the {s}?", "what {h} do the {s} have?")  # fmt: skip
        return rng.choice(forms).format(h=hue, s=plural(shape)), listed(hues)
    if len(facts.things) < 2:
        return None
    hues = list(dict.fromkeys(t.colour for t in facts.things))
    forms = ("what {h} are they?", "which {h} are they?", "what {h} do they have?", "what are their {h}s?")  # fmt: skip
    return rng.choice(forms).format(h=a_hue(rng)), listed(hues)


def they(facts: Facts, rng: random.Random) -> Asked | None:
    """Yes and no about all things, called they."""
    if len(facts.things) < 2:
        return None
    dice = rng.random()
    who = rng.choice(("are they", "are they", "are these", "are the shapes", "are the things"))
    if dice < 0.6:
        by_colour = dice < 0.35
        values = [t.colour if by_colour else t.shape for t in facts.things]
        true = len(set(values)) == 1
        if not true and rng.random() < 0.5:
            return None  # most pictures would say no
        value = rng.choice(values)
        if rng.random() < 0.25:
            others = [v for v in (COLOURS if by_colour else SHAPES) if v not in values]
            value, true = rng.choice(others), False
        return f"{who} {value if by_colour else plural(value)}?", yes(true)
    if dice < 0.7:
        return rng.choice(("do they touch?", f"{who} touching?", "do they overlap?", f"{who} overlapping?")), "no"
    if len(facts.things) > 2:
        return None
    a, b = facts.things
    across, down = abs(a.x - b.x), abs(a.y - b.y)
    if max(across, down) < 2.5 * min(across, down):
        return None
    beside = rng.random() < 0.5
    forms = ("{} side by side?", "{} next to each other?", "{} beside each other?", "{} in a row?")
    if not beside:
        forms = ("{} on top of each other?", "{} one above the other?", "{} above each other?", "{} stacked?")
    return rng.choice(forms).format(who), yes((across > down) == beside)
