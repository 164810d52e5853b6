"""Changes that people ask for in a conversation: what they say, and the changed scene."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from training.language import words
from training.language.naming import background_noun
from training.language.words import article, plural, typed
from training.scenes import PLACES, any_background, arrange
from training.world import COLOURS, SHAPES, Scene, Thing

Edit = tuple[str, Scene]


def _again(scene: Scene, things: Sequence[Thing], arrangement: str | None = None) -> Scene:
    """The scene with other things; the arrangement stays while their number does."""
    if arrangement is None and len(things) == len(scene.things):
        arrangement = scene.arrangement
    if not things:
        arrangement = "empty"
    return arrange(things, scene.background, scene.style, arrangement)


def _which(scene: Scene, rng: random.Random) -> tuple[int, str] | None:
    """A thing by its number, and how to call it: it, or a name that only it has."""
    things = scene.things
    if not things:
        return None
    if len(things) == 1 and rng.random() < 0.7:
        return 0, rng.choice(("it", "it", "it", "this", "that"))
    number = rng.randrange(len(things))
    thing = things[number]
    placed = _placed(scene, number)
    alike = sum(t.pair == thing.pair for t in things) > 1
    if placed and rng.random() < (0.7 if alike else 0.2):
        return number, rng.choice(placed)
    if sum(t.shape == thing.shape for t in things) == 1 and rng.random() < 0.7:
        return number, f"the {words.shape_word(thing.shape, rng) if rng.random() < 0.2 else thing.shape}"
    if sum(t.pair == thing.pair for t in things) == 1:
        return number, f"the {thing.colour} {thing.shape}"
    return None


_LINES = {"beside": ("left", "right"), "row": ("left", "middle", "right"),
          "stacked": ("top", "bottom"), "column": ("top", "middle", "bottom")}  # fmt: skip


def _placed(scene: Scene, number: int) -> list[str]:
    """Names of a thing for where it stands in a line, or in which order."""
    things, places = scene.things, _LINES.get(scene.arrangement, ())
    if len(places) != len(things):
        return []
    place = places[number]
    names = [f"the {place} one", f"the {place} one"]
    if len({t.shape for t in things}) == 1:
        names.append(f"the {place} {things[number].shape}")
    if place == "middle":
        return [*names, "the one in the middle"]
    preposition = "on the" if place in ("left", "right") else "at the"
    names.append(f"the one {preposition} {place}")
    if scene.arrangement in ("beside", "row"):
        names.append("the first one" if number == 0 else "the last one")
    return names


def _changed(scene: Scene, number: int, **facts: str) -> Scene:
    things = list(scene.things)
    things[number] = replace(things[number], **facts)
    return _again(scene, things)


def _recolour(scene: Scene, rng: random.Random) -> Edit | None:
    which = _which(scene, rng)
    if which is None:
        return None
    number, name = which
    old = scene.things[number].colour
    colour = rng.choice([c for c in COLOURS if c not in (old, scene.background)])
    said = words.colour_word(colour, rng)
    forms = [
        f"make {name} {said}", f"now make {name} {said}", f"change {name} to {said}", f"paint {name} {said}",
        f"make {name} {said} please", f"color {name} {said}", f"change the color of {name} to {said}",
        f"turn {name} {said}", f"now {name} should be {said}", f"can you make {name} {said}?",
        f"i want {name} {said}", f"{name} in {said} please", f"could {name} be {said}?", f"let {name} be {said}",
    ]  # fmt: skip
    if name in ("it", "this", "that"):
        forms += [f"now in {said}", f"in {said} please", f"{said} please", f"now {said}", f"the same in {said}",
                  f"{article(said)} one", f"now {article(said)} one", f"draw {article(said)} one", f"{article(said)} one please",
                  f"{said} instead", f"change the colour to {said}", f"what about {said}?", f"and in {said}?",
                  f"try {said}", f"i prefer {said}", f"rather {said}", f"no, {said}", f"change it to {said}"]  # fmt: skip
    if len(scene.things) > 1 and rng.random() < 0.35:
        things = [replace(t, colour=colour) for t in scene.things]
        form = rng.choice(("make them {}", "make both {}", "make everything {}", "make all of them {}", "all {}",
                           "paint them {}", "change them to {}", "color them {}", "now make them {}", "them in {}"))  # fmt: skip
        if len(things) > 2:
            form = form.replace("both", "them all")
        return form.format(said), _again(scene, things)
    return rng.choice(forms), _changed(scene, number, colour=colour)


def _resize(scene: Scene, rng: random.Random) -> Edit | None:
    which = _which(scene, rng)
    if which is None:
        return None
    number, name = which
    many = len(scene.things) > 1 and rng.random() < 0.25
    if many:
        name = rng.choice(("them", "them all", "both" if len(scene.things) == 2 else "everything"))
    large = scene.things[number].size == "small"
    fixed = scene.arrangement in ("row", "column")  # three fit only if they are small
    if rng.random() < 0.2 and not fixed:
        large, fixed = not large, True  # it cannot be larger than large
    word = rng.choice(("bigger", "larger", "big", "large") if large else ("smaller", "smaller", "small", "tiny"))
    forms = [f"make {name} {word}", f"now make {name} {word}", f"{name} should be {word}", f"can you make {name} {word}?",
             f"make {name} {word} please", f"i want {name} {word}", f"change {name} to {word}"]  # fmt: skip
    if name in ("it", "this", "that"):
        forms += [f"{word}", f"{word} please", f"a {word} one", f"now {word}", "too small" if large else "too big",
                  "grow it" if large else "shrink it"]  # fmt: skip
    said, size = rng.choice(forms), "large" if large else "small"
    if fixed:
        return said, scene
    if many:
        return said, _again(scene, [replace(t, size=size) for t in scene.things])
    return said, _changed(scene, number, size=size)


def _reshape(scene: Scene, rng: random.Random) -> Edit | None:
    which = _which(scene, rng)
    if which is None:
        return None
    number, name = which
    shape = rng.choice([s for s in SHAPES if s != scene.things[number].shape])
    if len(scene.things) > 1 and rng.random() < 0.2:
        things = [replace(t, shape=shape) for t in scene.things]
        form = rng.choice(("make them {}", "turn them into {}", "change them to {}", "make them all {}", "replace them with {}"))
        return form.format(plural(words.shape_word(shape, rng))), _again(scene, things)
    colour = scene.things[number].colour
    noun = words.shape_word(shape, rng)
    if rng.random() < 0.25:  # both at once
        colour = rng.choice([c for c in COLOURS if c != scene.background])
        noun = f"{words.colour_word(colour, rng)} {noun}"
    said = article(noun)
    forms = [f"make {name} {said}", f"turn {name} into {said}", f"change {name} to {said}", f"replace {name} with {said}",
             f"change {name} into {said}", f"{name} should be {said}", f"swap {name} for {said}"]  # fmt: skip
    if name in ("it", "this", "that"):
        forms += [f"now as {said}", f"{said} instead", f"rather {said}", f"the same but {said}", f"no, {said}"]
    return rng.choice(forms), _changed(scene, number, shape=shape, colour=colour)


_SIDES = {
    "left": ("to {its} left", "on the left", "to the left of {it}", "left of {it}", "on {its} left side", "on the left of {it}"),
    "right": ("to {its} right", "on the right", "to the right of {it}", "right of {it}", "next to {it}", "beside {it}", ""),
    "above": ("above {it}", "over {it}", "on top", "on top of {it}", "at the top"),
    "below": ("below {it}", "under {it}", "underneath", "below", "at the bottom", "beneath {it}"),
}  # fmt: skip


def _add(scene: Scene, rng: random.Random) -> Edit | None:
    count = len(scene.things)
    if not 0 < count < 4:
        return None
    colour = rng.choice([c for c in COLOURS if c != scene.background])
    shape = rng.choice(SHAPES)
    size = scene.things[0].size
    says = rng.choice(("pair", "pair", "pair", "shape", "another", "one"))
    noun = article(f"{words.colour_word(colour, rng)} {words.shape_word(shape, rng)}")
    if count == 1 and rng.random() < 0.15:
        size = rng.choice(("small", "large"))
        noun = article(f"{rng.choice(words.SIZE_WORDS[size])} {noun.split(' ', 1)[1]}")
    elif says == "one" and len({t.shape for t in scene.things}) == 1:
        shape, noun = scene.things[0].shape, article(f"{words.colour_word(colour, rng)} one")
    if says == "shape":
        # Colours of things to add are free only if nothing is there to take one from.
        colour, noun = scene.things[-1].colour, article(shape)
    if says == "another":
        shape, colour = scene.things[-1].shape, scene.things[-1].colour
        noun = rng.choice(("another one", "one more", "another", f"another {shape}", f"a second {shape}"))
        if len({t.pair for t in scene.things}) > 1:
            noun = f"another {colour} {shape}"
    thing = Thing(shape, colour, size)
    verb = rng.choice(("add", "add", "add", "now add", "put", "draw", "and", "please add", "can you add", "also", "place"))
    if count == 1:
        side = rng.choice(("left", "right", "right", "above", "below"))
        it, its = rng.choice((("it", "its"), (f"the {scene.things[0].shape}", "its")))
        where = rng.choice(_SIDES[side]).format(it=it, its=its)
        if verb in ("put", "place", "draw") and not where:
            verb = "add"
        things = [thing, *scene.things] if side in ("left", "above") else [*scene.things, thing]
        arrangement = "beside" if side in ("left", "right") else "stacked"
        return f"{verb} {noun} {where}".strip(), _again(scene, things, arrangement)
    if verb in ("put", "place", "draw"):
        verb = "add"
    if count == 2 and scene.arrangement in ("beside", "stacked") and rng.random() < 0.5:
        first, last = scene.things
        row = scene.arrangement == "beside"
        where, things = rng.choice((
            ("on the left" if row else "at the top", [thing, first, last]),
            ("on the right" if row else "at the bottom", [first, last, thing]),
            ("to the right" if row else "below", [first, last, thing]),
            ("in the middle", [first, thing, last]), ("between them", [first, thing, last]),
            ("in between", [first, thing, last]),
        ))  # fmt: skip
        return f"{verb} {noun} {where}", _again(scene, things, "row" if row else "column")
    return f"{verb} {noun}", _again(scene, [*scene.things, thing])


def _remove(scene: Scene, rng: random.Random) -> Edit | None:
    which = _which(scene, rng)
    if which is None:
        return None
    number, name = which
    if len(scene.things) > 1 and name in ("it", "this", "that"):
        return None
    if len(scene.things) > 1 and len({t.pair for t in scene.things}) == 1 and rng.random() < 0.5:
        said = rng.choice(("remove one", "take one away", "one less", "one fewer", "remove one of them", "delete one"))
        return said, _again(scene, scene.things[:-1])
    if rng.random() < 0.15:
        said = rng.choice(("remove everything", "clear it", "clear the picture", "delete everything", "erase all"))
        return said, _again(scene, ())
    forms = (f"remove {name}", f"delete {name}", f"take {name} away", f"erase {name}", f"without {name}",
             f"now without {name}", f"please remove {name}", f"drop {name}", f"get rid of {name}")  # fmt: skip
    things = [t for i, t in enumerate(scene.things) if i != number]
    return rng.choice(forms), _again(scene, things)


def _reground(scene: Scene, rng: random.Random) -> Edit | None:
    taken = {t.colour for t in scene.things}
    background, style = any_background(rng)
    if background in taken or (background, style) == (scene.background, scene.style):
        return None
    if rng.random() < 0.2:
        background = scene.background
        style = "plain" if scene.style == "striped" else "striped"
        said = rng.choice(("make the background {}", "a {} background", "{} background please")).format(style)
        if style == "striped" and rng.random() < 0.4:
            said = rng.choice(("add stripes", "with stripes", "stripes please"))
        return said, replace(scene, style=style)
    tone = background_noun(background, style, rng)
    forms = ("change the background to {}", "make the background {}", "on a {} background", "{} background", "put it on {}",
             "now on a {} background", "with a {} background", "on {} please", "use a {} background", "background {}",
             "make the background {} please", "the background should be {}", "set the background to {}",
             "i want a {} background", "can the background be {}?", "now on {}", "change background to {}")  # fmt: skip
    return rng.choice(forms).format(tone), replace(scene, background=background, style=style)


def _move(scene: Scene, rng: random.Random) -> Edit | None:
    if len(scene.things) != 1:
        return None
    places = [p for p in PLACES if p not in (scene.arrangement, "middle" if scene.arrangement == "one" else "")]
    place = rng.choice(places)
    name = rng.choice(("it", "it", f"the {scene.things[0].shape}"))
    if place == "middle":
        where = rng.choice(("to the middle", "to the center", "in the middle"))
    elif " " in place:
        where = rng.choice((f"to the {place} corner", f"to the {place}", f"in the {place} corner"))
    else:
        way = {"top": "up", "bottom": "down"}.get(place, f"to the {place} side")
        where = rng.choice((f"to the {place}", way, f"to the {place}"))
    said = rng.choice(("move {} {}", "move {} {}", "put {} {}", "shift {} {}", "now move {} {}", "place {} {}"))
    return said.format(name, where), _again(scene, scene.things, place)


def _other(scene: Scene, rng: random.Random) -> Edit | None:
    """The same again, swapped, or several of it."""
    dice = rng.random()
    if len(scene.things) == 2 and dice < 0.6:
        said = rng.choice(("swap them", "swap the shapes", "switch their places", "exchange them", "the other way round"))
        return said, _again(scene, scene.things[::-1])
    if len(scene.things) == 1 and dice < 0.7:
        number = rng.choice((2, 3, 4))
        word = ("two", "three", "four")[number - 2]
        said = rng.choice((f"now {word} of them", f"{word} of them", f"make it {word}", f"i want {word}", f"draw {word} of them"))
        return said, _again(scene, scene.things * number)
    return rng.choice(("again", "draw it again", "once more", "the same again", "repeat", "do it again")), scene


_ORDINALS = (("first", "1st"), ("second", "2nd"), ("third", "3rd"))


def _one_of_them(scene: Scene, rng: random.Random) -> Edit | None:
    """A change of one of several of a kind: the last, or the one whose number is said."""
    things = scene.things
    if len(things) < 2 or len({t.shape for t in things}) > 1:
        return None
    shape = things[0].shape
    number = len(things) - 1
    in_line = scene.arrangement in _LINES
    if in_line and rng.random() < 0.5:
        number = rng.randrange(len(things))
        name = f"the {rng.choice(_ORDINALS[number])} {rng.choice(('one', shape))}"
    elif len({t.pair for t in things}) == 1:
        name = rng.choice(("one", "one of them", "just one", "only one", f"one {shape}", f"one of the {plural(shape)}",
                           "one of these", f"just one of the {plural(shape)}"))  # fmt: skip
    else:
        return None
    thing = things[number]
    dice = rng.random()
    if dice < 0.6:
        colour = rng.choice([c for c in COLOURS if c not in (thing.colour, scene.background)])
        said, changed = words.colour_word(colour, rng), _changed(scene, number, colour=colour)
        forms = ("make {} {}", "make {} {}", "now make {} {}", "paint {} {}", "change {} to {}", "turn {} {}",
                 "color {} {}", "i want {} {}", "can you make {} {}?", "{} should be {}", "{} in {}", "{} {}")  # fmt: skip
    elif dice < 0.85:
        shape = rng.choice([s for s in SHAPES if s != thing.shape])
        said, changed = article(words.shape_word(shape, rng)), _changed(scene, number, shape=shape)
        forms = ("make {} {}", "turn {} into {}", "change {} to {}", "replace {} with {}", "{} should be {}", "swap {} for {}")
    else:
        things = tuple(t for i, t in enumerate(things) if i != number)
        said, changed = "", _again(scene, things)
        forms = ("remove {}{}", "delete {}{}", "take {}{} away", "erase {}{}", "drop {}{}", "get rid of {}{}")
    return rng.choice(forms).format(name, said), changed


# With how often each is asked for in the first and in the later part of a training.
_EDITS: tuple[tuple[Callable[[Scene, random.Random], Edit | None], float, float], ...] = (
    (_recolour, 28, 26), (_resize, 11, 11), (_reshape, 14, 14), (_add, 28, 30), (_remove, 14, 16),
    (_reground, 14, 12), (_move, 9, 12), (_other, 10, 9), (_one_of_them, 0, 18),
)  # fmt: skip


def edit(scene: Scene, rng: random.Random, *, late: bool = False) -> Edit:
    """Something to change, and the changed scene."""
    while True:
        change = rng.choices([e for e, *_ in _EDITS], [w[late] for _, *w in _EDITS])[0](scene, rng)
        if change is not None:
            return typed(change[0], rng), change[1]
