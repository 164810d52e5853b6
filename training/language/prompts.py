"""Prompts for pictures as people type them, each with the scene that it asks for."""

import random
import re
from dataclasses import dataclass, replace

from training.language import words
from training.language.forms import (
    ALIKE,
    ALIKE_APART,
    ALONE,
    ENDS,
    NO_BACKGROUND,
    OPEN,
    RELATIONS,
    STARTS,
    STRANGERS,
)
from training.language.naming import Named, background_noun, with_background
from training.language.words import article, listed, plural, typed
from training.scenes import (
    PLACES,
    any_background,
    arrange,
    default_size,
    free_colour,
    light_background,
)
from training.world import COLOURS, COLUMNS, SHAPES, WIDE_COLUMNS, Scene, Thing


@dataclass(frozen=True)
class Prompt:
    """What is typed, and the scene it asks for. `known` is False if no word of it is known."""

    text: str
    scene: Scene
    known: bool = True


def _pair(background: str, rng: random.Random) -> tuple[str, str]:
    return free_colour(rng, [background]), rng.choice(SHAPES)


def _several(number: int, background: str, rng: random.Random) -> list[Named]:
    """Things of which each may repeat the colour or shape of another."""
    pairs = [_pair(background, rng)]
    while len(pairs) < number:
        pair = _pair(background, rng)
        if rng.random() < 0.25:
            pair = (pairs[0][0], pair[1]) if rng.random() < 0.5 else (pair[0], pairs[0][1])
        pairs.append(pair)
    common = default_size(number, rng)
    shapes_alone = rng.random() < 0.08
    named = []
    for colour, shape in pairs:
        says_size = rng.random() < 0.25
        size = rng.choice(("small", "large")) if says_size else common
        dice = rng.random()
        says_colour = not shapes_alone and dice > 0.06
        says_shape = shapes_alone or not 0.06 < dice < 0.10
        named.append(Named(Thing(shape, colour, size), says_size, says_colour, says_shape))
    return named


def _relate(named: list[Named], arrangement: str, rng: random.Random) -> str:
    style = rng.choices((0, 1, 2), (30, 65, 5))[0]
    # Some say an article once: a circle and square.
    later = 0 if style == 1 and rng.random() < 0.08 else style
    phrases = [n.phrase(rng, later if i else style) for i, n in enumerate(named)]
    joined = listed(phrases, rng.choice((" and ", " and ", " and ", ", ", ", and ", " & ")))
    form = rng.choice(RELATIONS[arrangement])
    return form.format(list=joined, **dict(zip("abcd", phrases, strict=False)))


@dataclass
class Wanted:
    """Things, how they stand, and the words for both."""

    things: list[Thing]
    arrangement: str | None
    text: str


def _one(background: str, rng: random.Random) -> Wanted:
    colour, shape = _pair(background, rng)
    dice = rng.random()
    says_size = rng.random() < 0.3
    size = rng.choice(("small", "large")) if says_size else default_size(1, rng)
    # A shape or a colour alone, else both.
    named = Named(Thing(shape, colour, size), says_size, dice > 0.25, not 0.25 < dice < 0.32)
    text = named.phrase(rng, rng.choices((0, 1, 2), (28, 66, 6))[0])
    arrangement = None
    if rng.random() < 0.16:
        place = rng.choice(list(PLACES))
        arrangement, where = place, rng.choice(words.PLACE_WORDS[place])
        if where == "in the corner":
            arrangement = "top left"
        text = f"{where}, {text}" if rng.random() < 0.12 else f"{text} {where}"
    elif rng.random() < 0.05:
        text = f"{text} {rng.choice(ALONE)}"
    elif named.says_colour and named.says_shape and not says_size and rng.random() < 0.02:
        forms = ("color: {}, shape: {}", "{} color, {} shape", "colour {}, shape {}", "{}-colored {}", "{} as color, {} as shape")
        text = rng.choice(forms).format(colour, shape)
    return Wanted([named.thing], arrangement, text)


def _open(background: str, rng: random.Random) -> Wanted:
    """Shapes of any kind."""
    number = rng.choices((1, 2, 3, 4), (5, 2, 2, 1))[0]
    things = [n.thing for n in _several(number, background, rng)]
    if number > 1:
        things = [replace(t, size=things[0].size) for t in things]
    return Wanted(things, None, rng.choice(OPEN[number]))


def _bare(background: str, rng: random.Random) -> Wanted:
    """One word or two, as people type first: star, red, small hearts, blue circle."""
    colour, shape = _pair(background, rng)
    size = default_size(1, rng)
    kinds = ("shape", "colour", "pair", "plural", "sized")
    what = rng.choices(kinds, (50, 14, 12, 12, 12))[0]
    if what == "plural":
        number = rng.choice((2, 3))
        thing = Thing(shape, colour, default_size(number, rng))
        return Wanted([thing] * number, None, plural(words.shape_word(shape, rng)))
    if what == "sized":
        size = rng.choice(("small", "large"))
    alone = words.shape_word(shape, rng, 0.8)
    text = {
        "shape": article(alone) if rng.random() < 0.55 else alone,
        "colour": words.colour_word(colour, rng, 0.6),
        "pair": f"{words.colour_word(colour, rng)} {words.shape_word(shape, rng)}",
        "sized": f"{rng.choice(words.SIZE_WORDS[size])} {words.shape_word(shape, rng)}",
    }
    return Wanted([Thing(shape, colour, size)], None, text[what])


def _coloured_stranger(background: str, rng: random.Random) -> Wanted:
    """Something unknown in a known colour: the colour is what can be drawn of it."""
    colour, shape = _pair(background, rng)
    word = words.colour_word(colour, rng)
    text = rng.choice((article(f"{word} {words.unknown(rng)}"), f"{word} {words.unknown(rng)}"))
    return Wanted([Thing(shape, colour, default_size(1, rng))], None, text)


def _two(background: str, rng: random.Random) -> Wanted:
    named = _several(2, background, rng)
    dice = rng.random()
    if rng.random() < 0.15:
        for one in named:
            one.says_size, one.thing = True, replace(one.thing, size=rng.choice(("small", "large")))
    if dice < 0.07:  # each at a place of its own
        places = rng.sample(["top left", "top right", "bottom left", "bottom right"], 2)
        phrases = [n.phrase(rng, 1) for n in named]
        said = [f"{p} {rng.choice(words.PLACE_WORDS[w][:4])}" for p, w in zip(phrases, places, strict=True)]
        return Wanted([n.thing for n in named], "at " + ", ".join(places), listed(said))
    if dice < 0.17:  # one word for both
        return _shared(named, rng)
    arrangement = "beside" if dice < 0.68 else "stacked"
    text = _relate(named, arrangement, rng)
    return Wanted([n.thing for n in named], arrangement, text)


def _shared(named: list[Named], rng: random.Random) -> Wanted:
    """Two things that share a colour or a shape, said once."""
    a, b = (n.thing for n in named)
    size = a.size
    if rng.random() < 0.5:
        b = replace(b, colour=a.colour, size=size)
        forms = (
            f"{article(a.colour)} {a.shape} and {b.shape}", f"a {a.shape} and a {b.shape} in {a.colour}",
            f"a {a.shape} and a {b.shape}, both {a.colour}", f"{a.colour} {a.shape} and {b.shape}",
            f"{a.colour}: {a.shape} and {b.shape}", f"a {a.shape} and a {b.shape}, all {a.colour}",
        )  # fmt: skip
    else:
        b = replace(b, shape=a.shape, size=size)
        many = plural(a.shape)
        forms = (
            f"{article(a.colour)} and {article(b.colour)} {a.shape}", f"{a.colour} and {b.colour} {many}",
            f"two {many}, one {a.colour} and one {b.colour}", f"two {many} in {a.colour} and {b.colour}",
            f"two {many}: {a.colour} and {b.colour}", f"{article(a.colour)} {a.shape} and {article(b.colour)} one",
        )  # fmt: skip
    return Wanted([a, b], "beside", rng.choice(forms))


def _alike(background: str, rng: random.Random) -> Wanted:
    """Several of one kind."""
    number = rng.choices((2, 3, 4), (41, 35, 24))[0]
    colour, shape = _pair(background, rng)
    says_size = rng.random() < 0.25
    size = rng.choice(("small", "large")) if says_size else default_size(number, rng)
    dice = rng.random()
    named = Named(Thing(shape, colour, size), says_size, dice > 0.15, not 0.15 < dice < 0.20)
    noun = named.noun(rng, many=True)
    text = f"{rng.choice(words.MANY[number]).replace('three of these', 'three')} {noun}"
    if number == 3 and rng.random() < 0.12:
        text = noun  # a bare plural
    elif named.says_colour and named.says_shape and rng.random() < 0.14:
        count = rng.choice(words.MANY[number][:3])  # just this many
        size_said = f"{rng.choice(words.SIZE_WORDS[size])} " if says_size else ""
        text = rng.choice(ALIKE_APART).format(
            n=count,
            digit=number,
            many=size_said + plural(shape), one=size_said + shape, colour=words.colour_word(colour, rng),
        )  # fmt: skip
    if rng.random() < 0.04:
        text = " and ".join([article(f"{colour} {shape}")] * number)
    forms = ALIKE[number]
    arrangement = rng.choices(list(forms), [4, 1][: len(forms)])[0]
    return Wanted([named.thing] * number, arrangement, rng.choice(forms[arrangement]).format(text))


def _groups(background: str, rng: random.Random) -> Wanted:
    """Several of one kind and one, or two, of another."""
    first, second = _several(2, background, rng)
    first.says_colour = second.says_colour = rng.random() < 0.85
    first.says_shape = second.says_shape = True
    dice = rng.random()
    if dice < 0.32:  # three and one
        many = f"{rng.choice(('three', '3', 'three'))} {first.noun(rng, many=True)}"
        one = second.phrase(rng, 1)
        text, things = rng.choice((
            ("{m} and {o}", (0, 0, 0, 1)), ("{m}, {o}", (0, 0, 0, 1)), ("{m} with {o}", (0, 0, 0, 1)),
            ("{o} and {m}", (1, 0, 0, 0)), ("{o} with {m}", (1, 0, 0, 0)), ("{m} plus {o}", (0, 0, 0, 1)),
        ))  # fmt: skip
        return Wanted([(first, second)[i].thing for i in things], "four", text.format(m=many, o=one))
    if dice < 0.50:
        things = [first.thing] * 2 + [second.thing] * 2
        parts = [f"{rng.choice(('two', '2'))} {n.noun(rng, many=True)}" for n in (first, second)]
        return Wanted(things, "four", rng.choice((" and ", ", ", " and ", " with ")).join(parts))
    two, one = f"{rng.choice(('two', '2', 'two'))} {first.noun(rng, many=True)}", second.phrase(rng, 1)
    forms = (
        (f"{two} and {one}", (0, 0, 1), "row"), (f"{two}, {one}", (0, 0, 1), "row"),
        (f"{one} and {two}", (1, 0, 0), "row"), (f"{one} between {two}", (0, 1, 0), "row"),
        (f"{one} in the middle of {two}", (0, 1, 0), "row"), (f"{two} with {one} between them", (0, 1, 0), "row"),
        (f"{one} next to {two}", (1, 0, 0), "row"), (f"{two} next to {one}", (0, 0, 1), "row"),
        (f"{one} to the left of {two}", (1, 0, 0), "row"), (f"{one} right of {two}", (0, 0, 1), "row"),
        (f"{two} above {one}", (0, 0, 1), "pair_above"), (f"{one} below {two}", (0, 0, 1), "pair_above"),
        (f"{one} above {two}", (1, 0, 0), "pair_below"), (f"{two} under {one}", (1, 0, 0), "pair_below"),
    )  # fmt: skip
    text, order, arrangement = rng.choice(forms)
    return Wanted([(first, second)[i].thing for i in order], arrangement, text)


def _three(background: str, rng: random.Random) -> Wanted:
    if rng.random() < 0.52:
        return _groups(background, rng)
    named = _several(3, background, rng)
    if rng.random() < 0.15:
        return _shared_by_three(named, rng)
    arrangement = rng.choices(("row", "column", "pair_above", "pair_below"), (60, 14, 13, 13))[0]
    return Wanted([n.thing for n in named], arrangement, _relate(named, arrangement, rng))


def _shared_by_three(named: list[Named], rng: random.Random) -> Wanted:
    """Three things that share a colour or a shape, said once."""
    first = named[0].thing
    if rng.random() < 0.5:
        things = [replace(n.thing, colour=first.colour, size="small") for n in named]
        listing = listed([article(t.shape) for t in things])
        forms = (f"{listing}, all {first.colour}", f"{listing} in {first.colour}", f"{listing}, all of them {first.colour}",
                 f"{first.colour}: {listing}", f"{first.colour} {listed([t.shape for t in things])}")  # fmt: skip
    else:
        things = [replace(n.thing, shape=first.shape, size="small") for n in named]
        many, hues = plural(first.shape), [t.colour for t in things]
        forms = (f"{listed([article(h) for h in hues])} {first.shape}", f"{listed(hues)} {many}", f"three {many}: {listed(hues)}",
                 f"three {many} in {listed(hues)}", f"three {many}, {listed([f'one {h}' for h in hues])}")  # fmt: skip
    return Wanted(things, "row", rng.choice(forms))


def _four(background: str, rng: random.Random) -> Wanted:
    named = _several(4, background, rng)
    return Wanted([n.thing for n in named], "four", _relate(named, "four", rng))


_KINDS = (_one, _bare, _coloured_stranger, _open, _two, _alike, _three, _four)
_WEIGHTS = (36, 20, 3, 2, 22, 14, 16, 5)
_LATE_WEIGHTS = (30, 34, 3, 2, 22, 14, 17, 6)
_QUESTION = re.compile(r"(can|could|would|will|may|are|do|how|what) (you|i|it|we|about)\b", re.IGNORECASE)


def _decorate(text: str, rng: random.Random) -> str:
    """How a request begins and ends; things unknown to the world beside those it knows."""
    dice = rng.random()
    if dice < 0.07:
        text = rng.choice(STRANGERS).format(text, words.unknown(rng), words.unknown(rng))
    elif dice < 0.09:
        text = f"{article(words.unknown(rng))} {rng.choice(('and', 'with'))} {text}"
    elif dice < 0.10:
        text = f"{words.unknown(rng)} {words.unknown(rng)} {text}"
    if rng.random() < 0.42:
        text = f"{rng.choice(STARTS)} {text}"
    if rng.random() < 0.07:
        text = f"{text}{rng.choice((', ', ' '))}{rng.choice(ENDS)}"
    return text


def _empty(rng: random.Random) -> Prompt:
    background, style = any_background(rng)
    tone = background_noun(background, style, rng)
    forms = (
        "an empty {} background", "a {} background", "just a {} background", "only {}", "nothing but {}",
        "an empty {} picture", "a plain {} picture", "nothing on a {} background", "{} background",
        "a blank {} page", "empty {} background", "a {} picture with nothing on it", "all {}",
    )  # fmt: skip
    if rng.random() < 0.2:
        text = f"{article(words.unknown(rng))} on a {tone} background"
    elif background in COLOURS:
        text = rng.choice(forms[:3] + forms[5:11]).format(tone)
    else:
        text = rng.choice(forms).format(tone)
    return Prompt(typed(_decorate(text, rng), rng), Scene((), background, style, arrangement="empty"))


def _unknown(rng: random.Random, late: bool) -> Prompt:
    a, b, c = (words.unknown(rng, late=late) for _ in range(3))
    adjective = rng.choice(words.unknown_words())
    forms = (
        article(a), article(a), a, f"{a} and {b}", f"{article(adjective)} {a}", f"{article(a)} in the {b}",
        f"{article(a)} with {article(b)}", f"{article(a)} riding {article(b)}", f"my {a}", f"the {a} of {b}",
        f"{article(a)} eating {article(b)} in the {c}", f"{adjective} {a} {b}", f"{article(adjective)} {a} {b} {c}",
        f"{article(a)} next to {article(b)}", f"two {a}s", f"what is {a}", f"{a} {b} {c} {adjective}",
        f"{article(a)}, {article(b)} and {article(c)}", "nothing", "an empty picture", "something", "anything",
        f"{a} is {adjective}", f"the {adjective} {a} of the {b}", f"{article(a)} made of {b}", f"i like {a}",
        f"a man with {article(a)}", f"tell me about {a}", f"portrait of {article(a)}", f"{article(a)} by the {b} at {c}",
        f"the {a} jumped over the {b}", f"{article(adjective)} {a} flying through {b}", f"a close-up of {article(a)}",
        f"{a} against {b}", f"{a} {b}", f"{a}, {b}, {c}", f"a lot of {a}s", f"{article(a)} and two {b}s",
        f"some {a}s in the {b}", f"the {a}", f"one {a} and one {b}", f"{article(a)} holding {article(b)}",
        f"{article(a)} on {article(b)}", f"three {a}s in a row", f"{article(a)} at {b}", f"how to {adjective} {a}",
    )  # fmt: skip
    text = rng.choice(forms[:3] if late and rng.random() < 0.4 else forms)
    if rng.random() < 0.05:
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(rng.randint(2, 14)))
    text = f"{rng.choice(STARTS)} {text}" if rng.random() < 0.35 else text
    scene = Scene((), light_background(rng), arrangement="empty")
    return Prompt(typed(text.strip() or "x", rng), scene, known=False)


def prompt(
    rng: random.Random, *, wide: bool = False, strange: float = 0.11, late: bool = False
) -> Prompt:
    """A prompt and what it asks for; the share `strange` names nothing that can be drawn."""
    asked = _prompt(rng, wide, strange, late)
    if not late:
        return asked
    text = asked.text
    if _QUESTION.match(text) and rng.random() < 0.6:
        text = text.rstrip(".!?") + "?"
    if rng.random() < (0.15 if len(text) < 14 else 0.04):
        text = words.misspell(text, rng)
    return replace(asked, text=text)


def _prompt(rng: random.Random, wide: bool, strange: float, late: bool) -> Prompt:
    dice = rng.random()
    if not wide and dice < strange:
        return _empty(rng) if dice < strange / 5 else _unknown(rng, late)
    said = rng.random() < 0.4
    background, style = any_background(rng) if said else (light_background(rng), "plain")
    stripes_alone = said and rng.random() < 0.06
    if stripes_alone:
        background, style = "white", "striped"
    wanted = rng.choices(_KINDS, _LATE_WEIGHTS if late else _WEIGHTS)[0](background, rng)
    text = wanted.text
    if stripes_alone:
        forms = ("{} on a striped background", "{}, striped background", "{} with stripes behind",
                 "{} on stripes", "{} in front of stripes", "{} with a stripy background")  # fmt: skip
        text = rng.choice(forms).format(text)
    elif not said and rng.random() < 0.05:
        text = rng.choice(NO_BACKGROUND).format(text)
    elif said:
        text = with_background(text, background, style, rng)
    columns = WIDE_COLUMNS if wide else COLUMNS
    scene = arrange(wanted.things, background, style, wanted.arrangement, columns)
    return Prompt(typed(_decorate(text, rng), rng), scene)
