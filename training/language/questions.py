"""Questions about pictures as people type them, with the one answer that the model shall give."""

import random
from collections.abc import Callable

from training.language import comparing, together
from training.language.facts import (
    FAR,
    NEAR,
    Asked,
    Facts,
    a_colour,
    a_hue,
    a_shape,
    caption,
    named_once,
    things_phrase,
    yes,
)
from training.language.words import (
    NUMBERS,
    article,
    listed,
    plural,
    typed,
    unknown,
)
from training.world import COLOURS, SHAPES, STYLES

# Questions. Each function returns None if its kind does not fit the picture.


_ONES = (
    "is there {a}?", "is there {a}?", "is there {a} in the picture?", "do you see {a}?",
    "can you see {a}?", "does the picture show {a}?", "is {a} in the picture?", "any {many}?",
    "are there any {many}?", "are there {many}?", "do you see any {many}?", "is there any {one}?",
    "is {a} there?", "does this image contain {a}?", "is there {a} here?", "does it have {a}?",
    "can you find {a}?", "do you spot {a}?", "is {a} visible?", "is there {a} in the image?",
    "are there any {many} in the picture?", "tell me if there is {a}", "{one}?", "got {a}?",
    "has it got {a}?", "does the image have {a}?", "is there also {a}?", "is {a} shown?",
    "there is {a}, right?", "do we have {a}?", "is there at least one {one}?", "see {a}?",
)  # fmt: skip


def _exists(facts: Facts, rng: random.Random) -> Asked:
    pairs = {(t.colour, t.shape) for t in facts.things}
    colours, shapes = {c for c, _ in pairs}, {s for _, s in pairs}
    kind = rng.choices(("shape", "colour", "pair", "any", "unknown"), (33, 25, 34, 4, 4))[0]
    if kind == "unknown":
        one = unknown(rng)
        return rng.choice(_ONES).format(a=article(one), one=one, many=f"{one}s"), "no"
    if kind == "any":
        question = rng.choice(("is there anything?", "do you see anything?", "is the picture empty?",
                               "is it empty?", "is there anything in the picture?"))  # fmt: skip
        return question, yes(("empty" in question) != bool(pairs))
    want = rng.random() < 0.5 and bool(pairs)
    if kind == "shape":
        shape = rng.choice(sorted(shapes if want else set(SHAPES) - shapes))
        one, true = a_shape(shape, rng), shape in shapes
    elif kind == "colour":
        colour = rng.choice(sorted(colours if want else set(COLOURS) - colours))
        true = colour in colours
        word = a_colour(colour, rng)
        one = f"{word} {rng.choice(('shape', 'thing', 'object', 'one'))}"
        if rng.random() < 0.5:
            forms = (
                "is anything {}?", "is there anything {}?", "is there something {}?", "any {}?",
                "anything {}?", "do you see {}?", "is something {}?", "do you see anything {}?",
                "is there any {} in the picture?", "is there {}?", "is {} in the picture?",
                "are there any {} things?", "are there any {} shapes?", "does it contain {}?",
            )  # fmt: skip
            return rng.choice(forms).format(word), yes(true)
    else:
        near = [(c, s) for c in COLOURS for s in SHAPES if (c in colours) != (s in shapes)]
        crossed = [(c, s) for c in sorted(colours) for s in sorted(shapes)]
        others = [p for p in rng.choice((near, near, crossed)) if p not in pairs]
        pair = rng.choice(sorted(pairs)) if want else rng.choice(others or [("red", "circle")])
        one, true = f"{a_colour(pair[0], rng)} {a_shape(pair[1], rng)}", pair in pairs
    form = rng.choice(_ONES)
    return form.format(a=article(one), one=one, many=plural(one)), yes(true)


def _is_it(facts: Facts, rng: random.Random) -> Asked | None:
    """Yes or no about the only thing, or about one that can be named."""
    if not facts.things:
        return None
    thing = rng.choice(facts.things)
    alone = len(facts.things) == 1
    shapes = [t.shape for t in facts.things]
    colours = [t.colour for t in facts.things]
    want = rng.random() < 0.5
    colour = thing.colour if want else rng.choice([c for c in COLOURS if c != thing.colour])
    shape = thing.shape if want else rng.choice([s for s in SHAPES if s != thing.shape])
    colour_said, shape_said = a_colour(colour, rng), a_shape(shape, rng)
    if alone and rng.random() < 0.75:
        what = rng.choice(("it", "it", "this", "that", "the shape", "the thing", "the object"))
        dice = rng.random()
        if dice < 0.4:
            forms = ("is {w} {c}?", "is {w} {c}?", "{c}?", "is {w} {c} or not?", "{w} is {c}, right?",
                     "is the color {c}?", "would you say {w} is {c}?", "is {w} a {c} one?")  # fmt: skip
            return rng.choice(forms).format(w=what, c=colour_said), yes(want)
        if dice < 0.75:
            forms = ("is {w} {s}?", "is {w} {s}?", "is {w} {s} or not?", "{w} is {s}, right?",
                     "does {w} look like {s}?", "is {w} {s}?", "do you think {w} is {s}?")  # fmt: skip
            return rng.choice(forms).format(w=what, s=article(shape_said)), yes(want)
        if not want:
            colour, shape = rng.choice(((thing.colour, shape), (colour, thing.shape)))
        pair = article(f"{colour} {shape}")
        return rng.choice(("is {w} {p}?", "is {w} {p}?", "does the picture show {p}?")).format(
            w=what, p=pair
        ), yes(want)
    if shapes.count(thing.shape) == 1 and rng.random() < 0.6:
        named = a_shape(thing.shape, rng)
        forms = ("is the {s} {c}?", "is the {s} {c}?", "is the {s} {c} or not?", "the {s} is {c}, right?",
                 "is the color of the {s} {c}?", "does the {s} look {c}?")  # fmt: skip
        return rng.choice(forms).format(s=named, c=colour_said), yes(want)
    if colours.count(thing.colour) == 1:
        forms = ("is the {c} thing {s}?", "is the {c} shape {s}?", "is the {c} one {s}?",
                 "is the {c} object {s}?")  # fmt: skip
        return rng.choice(forms).format(c=thing.colour, s=article(shape_said)), yes(want)
    return None


_WHAT = (
    "what is this?", "what is this?", "what's this?", "what is that?", "what is it?", "what's it?",
    "what do you see?", "what do you see?", "what can you see?", "what is in the picture?",
    "what's in the picture?", "what is in this image?", "what is shown?", "what is shown here?",
    "what does the picture show?", "what is there?", "what am i looking at?", "what is on it?",
    "what's in this image?", "what is depicted?", "what does it show?", "what have we here?",
    "which things are in the picture?", "what objects are there?", "what things do you see?",
    "tell me what you see", "list the shapes", "name the things in the picture", "what is here?",
    "what is in it?", "what did i draw?", "what's here?", "what is drawn here?", "can you name it?",
    "and what is this?", "now what is this?", "what could this be?", "what is visible?",
)  # fmt: skip
_DESCRIBE = (
    "describe the picture", "describe the picture", "describe this", "describe it", "describe",
    "describe this image", "please describe the picture", "describe what you see", "caption this",
    "give me a description", "tell me about the picture", "can you describe the picture?",
    "describe the image in detail", "describe the scene", "give a caption", "write a caption",
    "tell me everything about this picture", "could you describe this?", "how would you describe it?",
    "explain the picture", "what is in the picture and on which background?",
)  # fmt: skip


def _what(facts: Facts, rng: random.Random) -> Asked:
    return rng.choice(_WHAT), things_phrase(facts)


def _describe(facts: Facts, rng: random.Random) -> Asked:
    return rng.choice(_DESCRIBE), caption(facts, sizes=False)


def _missing(facts: Facts, rng: random.Random) -> Asked:
    """About a shape that is not there."""
    shape = rng.choice([s for s in SHAPES if s not in {t.shape for t in facts.things}])
    forms = ("what color is the {}?", "where is the {}?", "what colour is the {}?",
             "how big is the {}?", "which color is the {}?")  # fmt: skip
    return rng.choice(forms).format(shape), f"there is no {shape}"


def _colour_of(facts: Facts, rng: random.Random) -> Asked | None:
    shapes = [t.shape for t in facts.things]
    unique = [t for t in facts.things if shapes.count(t.shape) == 1]
    if not unique:
        return None
    thing, hue = rng.choice(unique), a_hue(rng)
    if len(shapes) == 1 and rng.random() < 0.5:
        what = rng.choice(("it", "it", "this", "the shape", "the thing", "that"))
        forms = ("what {h} is {w}?", "what {h} is {w}?", "which {h} is {w}?", "what {h}?", "{h}?",
                 "what is its {h}?", "what's the {h}?", "which {h} does {w} have?", "what is the {h}?",
                 "tell me the {h}", "name the {h}", "what {h} does {w} have?", "and its {h}?",
                 "what {h} do you see?", "in what {h} is {w}?")  # fmt: skip
        return rng.choice(forms).format(h=hue, w=what), thing.colour
    forms = ("what {h} is the {s}?", "what {h} is the {s}?", "which {h} is the {s}?", "{s} {h}?",
             "what's the {h} of the {s}?", "what {h}'s the {s}?", "which {h} does the {s} have?",
             "what is the {h} of the {s}?", "tell me the {h} of the {s}", "the {s} is what {h}?",
             "what {h} has the {s}?", "what {h} does the {s} have?", "and the {s}?", "{h} of the {s}?",
             "the {h} of the {s}?", "name the {h} of the {s}")  # fmt: skip
    return rng.choice(forms).format(h=hue, s=a_shape(thing.shape, rng)), thing.colour


def _shape_of(facts: Facts, rng: random.Random) -> Asked | None:
    colours = [t.colour for t in facts.things]
    unique = [t for t in facts.things if colours.count(t.colour) == 1]
    if not unique:
        return None
    thing = rng.choice(unique)
    if len(colours) == 1 and rng.random() < 0.5:
        forms = ("what shape is it?", "what shape is this?", "which shape is it?", "name the shape",
                 "what is the shape?", "what shape do you see?", "which shape do you see?", "shape?",
                 "which shape is this?", "what's the shape?", "tell me the shape", "what kind of shape is it?",
                 "what shape is in the picture?", "what form does it have?")  # fmt: skip
        return rng.choice(forms), thing.shape
    forms = ("what shape is {c}?", "which shape is {c}?", "what is the {c} shape?", "what is {c}?",
             "what is the {c} thing?", "what shape is the {c} thing?", "what shape is the {c} one?",
             "which thing is {c}?", "what is the {c} object?", "which one is {c}?", "name the {c} shape",
             "what shape does the {c} thing have?", "what's {c}?", "the {c} thing is what?",
             "what kind of shape is the {c} one?")  # fmt: skip
    return rng.choice(forms).format(c=a_colour(thing.colour, rng)), thing.shape


def _lists(facts: Facts, rng: random.Random) -> Asked | None:
    if not facts.things:
        return None
    if rng.random() < 0.5:
        hue = rng.choice(("colors", "colours"))
        forms = ("which {} do you see?", "what {} are there?", "what {} do you see?", "list the {}",
                 "which {} are in the picture?", "name the {}", "what {} are the shapes?",
                 "what {} are they?", "which {} are used?", "what are the {}?")  # fmt: skip
        said = list(dict.fromkeys(t.colour for t in facts.things))
        return rng.choice(forms).format(hue), listed(said)
    forms = ("which shapes are there?", "what shapes do you see?", "which shapes do you see?",
             "what shapes are in the picture?", "name the shapes", "what are the shapes?",
             "what kinds of shapes are there?", "what shapes are they?")  # fmt: skip
    return rng.choice(forms), listed(list(dict.fromkeys(t.shape for t in facts.things)))


_COUNT = (
    "how many {} are there?", "how many {} are there?", "how many {} do you see?", "how many {}?",
    "how many {} are in the picture?", "count the {}", "how many {} can you see?",
    "what is the number of {}?", "number of {}?", "how many {} does the picture show?",
    "tell me how many {} there are", "how many {} are there in the image?", "how many {} has it?",
    "how many {} can you count?", "how many {} are shown?", "please count the {}",
)  # fmt: skip


_COUNT_ALL = (
    "how many are there?", "how many?", "how many do you see?", "how many in total?", "count them", "count everything",
    "how many are in the picture?", "how many are they?", "what is the total?", "how many can you see?", "so how many?",
    "how many shapes in total?", "how many things altogether?", "how many different things are there in total?",
    "how many of them are there?", "please count", "can you count them?", "what's the number of shapes here?",
)  # fmt: skip


def _count(facts: Facts, rng: random.Random) -> Asked:
    kind = rng.choices(("all", "shape", "colour", "pair"), (35, 30, 20, 15))[0]
    there = list(facts.things)
    near = bool(there) and rng.random() < 0.75
    shape = rng.choice(there).shape if near else rng.choice(SHAPES)
    colour = rng.choice(there).colour if near else rng.choice(list(COLOURS))
    if kind == "all":
        what = rng.choice(("shapes", "things", "objects", "shapes", "figures", "items"))
        number = len(there)
        if rng.random() < 0.3:
            return rng.choice(_COUNT_ALL), NUMBERS[number] if number else "none"
    elif kind == "shape":
        what, number = plural(a_shape(shape, rng)), sum(t.shape == shape for t in there)
    elif kind == "colour":
        noun = rng.choice(("shapes", "things", "objects", "ones"))
        what, number = f"{colour} {noun}", sum(t.colour == colour for t in there)
        if rng.random() < 0.2:
            return rng.choice(("how many are {}?", "how many of them are {}?")).format(
                colour
            ), NUMBERS[number] if number else "none"
    else:
        pair = f"{colour} {shape}"
        what, number = f"{colour} {plural(shape)}", sum(t.name == pair for t in there)
    return rng.choice(_COUNT).format(what), NUMBERS[number] if number else "none"


def _where(facts: Facts, rng: random.Random) -> Asked | None:
    named = named_once(facts, rng)
    clear = named and all(abs(v - edge) > 0.03 for v in (named[0].x, named[0].y) for edge in (NEAR, FAR))
    if not named or not clear:
        return None
    thing, name = named
    if len(facts.things) == 1 and rng.random() < 0.4:
        name = "it" if rng.random() < 0.6 else "shape"
    forms = ("where is {}?", "where is {}?", "where's {}?", "where in the picture is {}?",
             "where can i find {}?", "in which corner is {}?" if "corner" in thing.place else "where is {}?",
             "what is the position of {}?", "where do you see {}?", "tell me where {} is")  # fmt: skip
    return rng.choice(forms).format(name if name == "it" else f"the {name}"), thing.place


def _size(facts: Facts, rng: random.Random) -> Asked | None:
    named = named_once(facts, rng)
    if named is None or 0.28 < named[0].side < 0.345:
        return None
    thing, name = named
    if len(facts.things) == 1 and rng.random() < 0.5:
        name = "it"
    name = name if name == "it" else f"the {name}"
    if rng.random() < 0.4:
        size = rng.choice(("small", "large"))
        word = rng.choice({"small": ("small", "little", "tiny"), "large": ("large", "big")}[size])
        return f"is {name} {word}?", yes(size == thing.size)
    forms = ("how big is {}?", "what size is {}?", "is {} small or large?", "how large is {}?",
             "is {} big or small?", "what is the size of {}?")  # fmt: skip
    return rng.choice(forms).format(name), thing.size


def _background(facts: Facts, rng: random.Random) -> Asked:
    dice = rng.random()
    if dice < 0.62:
        forms = ("what {h} is the background?", "what {h} is the background?", "background {h}?",
                 "what's the background {h}?", "which {h} is the background?", "which background is it?",
                 "what is the {h} of the background?", "what {h} is behind it?", "and the background?",
                 "what is the background?", "what {h} does the background have?", "on which {h}?",
                 "tell me the {h} of the background", "what {h} is the backdrop?", "background?")  # fmt: skip
        return rng.choice(forms).format(h=a_hue(rng)), facts.background
    want = rng.random() < 0.5
    if dice < 0.8:
        others = ["white", "gray", "black", "cream", "navy", "mint", *COLOURS]
        colour = facts.background if want else rng.choice([c for c in others if c != facts.background])
        said = rng.choice(("is the background {}?", "is the background {}?", "is it on {}?",
                           "is the backdrop {}?", "is it {} behind?"))  # fmt: skip
        return said.format(colour), yes(want)
    if dice < 0.92:
        style = rng.choice(STYLES)
        return rng.choice(("is the background {}?", "is the background {} or not?")).format(
            style
        ), yes(style == facts.style)
    forms = ("is the background plain or striped?", "what style is the background?",
             "is the background striped or plain?", "are there stripes?", "does it have stripes?")  # fmt: skip
    question = rng.choice(forms)
    answer = yes(facts.style == "striped") if question.endswith("stripes?") else facts.style
    return question, answer


Maker = Callable[[Facts, random.Random], Asked | None]
# Kind -> who makes one, and how often in the first and in the later part of a training.
QUESTIONS: dict[str, tuple[Maker, float, float]] = {
    "exists": (_exists, 15, 12),
    "is it": (_is_it, 12, 10),
    "what": (_what, 9, 8),
    "describe": (_describe, 4, 4),
    "colour": (_colour_of, 9, 9),
    "shape": (_shape_of, 9, 9),
    "lists": (_lists, 6, 6),
    "missing": (_missing, 2, 2),
    "count": (_count, 22, 22),
    "where": (_where, 6, 6),
    "relation": (comparing.relation, 12, 12),
    "compare": (comparing.compare, 12, 13),
    "at": (comparing.at, 5, 5),
    "everything": (together.everything, 8, 8),
    "either": (comparing.either, 4, 4),
    "number": (together.number, 9, 11),
    "same": (comparing.same, 8, 11),
    "most": (comparing.most, 7, 11),
    "colours of": (together.colours_of, 4, 7),
    "size": (_size, 4, 4),
    "background": (_background, 7, 7),
    "which": (comparing.which, 0, 10),
    "they": (together.they, 0, 7),
}


def question(
    facts: Facts, rng: random.Random, kind: str | None = None, *, late: bool = False
) -> tuple[str, str, str]:
    """A question, its answer and its kind; None as the kind draws one that fits."""
    names, weights = list(QUESTIONS), [w[late] for _, *w in QUESTIONS.values()]
    while True:
        name = kind or rng.choices(names, weights)[0]
        asked = QUESTIONS[name][0](facts, rng)
        if asked is not None:
            text, answer = asked
            if rng.random() < 0.04:
                before = ("please tell me, ", "hey, ", "ok, ", "and ", "so, ", "tell me: ", "now, ")
                text = rng.choice(before) + text
            if name in ("what", "describe") and rng.random() < 0.08:
                text = text.rstrip("?") + rng.choice((" please?", ", please", " now?", " exactly?"))
            return typed(text, rng), answer, name
        if kind:
            return "", "", name
