"""Small talk, what lies outside of the world, and conversations that draw."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from training.language import words
from training.language.facts import background_name, facts_of, things_phrase
from training.language.naming import background_noun
from training.language.prompts import prompt
from training.language.questions import question
from training.language.words import article, plural, typed
from training.scenes import PLACES, any_background, arrange, random_scene
from training.world import COLOURS, SHAPES, Scene, Thing

OUTSIDE = "I only know simple shapes."
NO_PICTURE = "Show me a picture first, or ask me to draw one."
_TALK = (
    (
        ("hello", "hi", "hi there", "hey", "good morning", "good evening", "hello there", "greetings",
         "hey there", "hiya", "good afternoon", "hello model", "hi liquid", "yo", "hello!!"),
        "Hello! I draw simple shapes and answer questions about pictures of them.",
    ),
    (
        ("who are you?", "what are you?", "what is your name?", "what's your name?", "who is this?",
         "are you a human?", "are you a robot?", "are you an ai?", "introduce yourself",
         "tell me about yourself", "what model are you?", "who made you?", "are you liquid?"),
        "I am a tiny Liquid model, trained on pictures of simple shapes.",
    ),
    (
        ("what can you do?", "what can you draw?", "help", "how can you help me?", "help me",
         "what do you know?", "what can i ask?", "what should i do?", "how does this work?",
         "what are you good at?", "what do you do?", "can you draw?", "can you help me?",
         "what can i ask you?", "what pictures can you make?"),
        "I can draw one to four shapes on a background, and tell what a picture shows.",
    ),
    (
        ("which shapes do you know?", "what shapes do you know?", "what shapes can you draw?",
         "list your shapes", "which shapes can you draw?", "what shapes are there?", "which forms do you know?"),
        "Circle, square, triangle, star, ring, cross and heart.",
    ),
    (
        ("which colors do you know?", "what colours do you know?", "what colors can you draw?",
         "which colours can you draw?", "list your colors", "what colors are there?", "which colors can you use?"),
        "Red, orange, yellow, green, cyan, blue, purple and pink.",
    ),
    (
        ("which backgrounds do you know?", "what backgrounds can you draw?", "what backgrounds are there?",
         "which backgrounds can you draw?", "list your backgrounds"),
        "White, gray, black, cream, navy, mint and all my colors, plain or striped.",
    ),
    (
        ("thank you", "thanks", "thank you very much", "thanks a lot", "great, thanks", "cheers",
         "nice, thank you", "thx", "many thanks", "perfect, thanks", "thank you so much", "well done",
         "good job", "very nice", "great", "perfect", "nice", "beautiful", "cool", "wonderful", "i like it",
         "that's great", "looks good", "awesome", "ok thanks", "nice one", "good", "that is pretty"),
        "You are welcome!",
    ),
    (
        ("goodbye", "bye", "see you", "bye bye", "good night", "see you later", "farewell", "ciao"),
        "Goodbye!",
    ),
    (
        ("how are you?", "how do you do?", "how is it going?", "what's up?", "how are you today?",
         "are you ok?", "how's life?"),
        "I am fine, thank you. What shall I draw?",
    ),
    (
        ("how big are your pictures?", "what size are your pictures?", "which sizes can you draw?",
         "what resolution are your pictures?", "what is the size of your pictures?"),
        "128 by 128 pixels, or 192 by 128 when you ask for it.",
    ),
)  # fmt: skip
_STRANGE = (
    "what is the capital of {a}?", "tell me a joke", "what is the weather today?", "what time is it?",
    "who is the president of {a}?", "what is 2 + 2?", "write a poem about {a}", "sing a song",
    "what do you think about {a}?", "how do i cook {a}?", "translate {a} into french", "what is a {a}?",
    "why is the sky blue?", "explain {a}", "can you fly?", "what is the meaning of life?", "do you like {a}?",
    "who won the football game?", "write python code for {a}", "what is {a}?", "how old are you?",
    "where do you live?", "tell me a story about a {a}", "what is love?", "i am bored", "i love you",
    "what is the best {a}?", "how many people live in {a}?", "how much is a {a}?", "define {a}",
    "recommend a {a}", "what should i eat?", "who wrote {a}?", "what is the tallest {a}?", "where is {a}?",
    "can you speak german?", "do you have feelings?", "what is your favourite {a}?", "how does a {a} work?",
    "solve {a}", "are you alive?", "is it raining?", "who is {a}?", "when was the {a} invented?", "why?",
    "what happened in 1990?", "can you help me with my {a}?", "i want to buy a {a}", "my {a} is broken",
    "do you know {a}?", "what do you know about {a}?", "tell me about {a}", "play some music", "{a} {b}",
    "what is the difference between {a} and {b}?", "is {a} better than {b}?", "how to {b} a {a}", "{a}?",
    "let's talk about {a}", "i have a {a}", "are there {a}s on the moon?", "read this {a}", "open the {a}",
    "what day is it?", "how far is the moon?", "buy me a {a}", "the {a} is {b}", "{b} the {a}", "{a}",
)  # fmt: skip


def small_talk(rng: random.Random) -> tuple[str, str]:
    """Something that needs no picture, and the reply."""
    dice = rng.random()
    if dice < 0.5:
        openings, reply = rng.choice(_TALK)
        return typed(rng.choice(openings), rng), reply
    if dice < 0.92:
        said = rng.choice(_STRANGE).format(a=words.unknown(rng), b=rng.choice(words.unknown_words()))
        return typed(said, rng), OUTSIDE
    facts = facts_of(random_scene(rng, count=rng.choice((1, 1, 2))))
    while True:
        said, _, kind = question(facts, rng)
        if kind in ("is it", "what", "describe", "count", "colour", "where", "background"):
            return said, NO_PICTURE


def outside_question(rng: random.Random) -> tuple[str, str]:
    """Any question, about a picture that is none of shapes."""
    facts = facts_of(random_scene(rng, count=rng.choice((0, 1, 1, 2, 3))))
    return question(facts, rng)[0], OUTSIDE


@dataclass(frozen=True)
class Turn:
    """What the user says (after `shown`, if a picture is shown), and the model's reply: `drawn`,
    if it draws, then text."""

    said: str
    reply: str
    shown: Scene | None = None
    drawn: Scene | None = None


def announced(scene: Scene) -> str:
    """What the model says behind a picture that it drew."""
    if not scene.things:
        return f"Here is an empty {background_name(facts_of(scene))}."
    light = scene.background in ("white", "cream") and scene.style == "plain"
    background = "" if light else f" on {article(background_name(facts_of(scene)))}"
    things = things_phrase(facts_of(scene))
    verb = "are" if things.startswith(words.NUMBERS[2:]) else "is"
    return f"Here {verb} {things}{background}."


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
            shape, colour = scene.things[-1].shape, scene.things[-1].colour
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


_EDITS: tuple[tuple[Callable[[Scene, random.Random], Edit | None], float], ...] = (
    (_recolour, 28), (_resize, 11), (_reshape, 14), (_add, 28), (_remove, 14), (_reground, 14),
    (_move, 9), (_other, 10),
)  # fmt: skip
_ABOUT_NOW = (
    ("what did you draw?", "what"), ("what have you drawn?", "what"), ("what is it now?", "what"),
    ("what do you see now?", "what"), ("what's in the picture now?", "what"), ("and what is that?", "what"),
    ("what did you just draw?", "what"), ("describe what you drew", "describe"), ("describe your picture", "describe"),
    ("describe it now", "describe"), ("what does your picture show?", "what"), ("what is in your picture?", "what"),
    ("how many shapes are there now?", "count"), ("how many are there now?", "count"), ("how many did you draw?", "count"),
)  # fmt: skip


def _ask(scene: Scene, rng: random.Random) -> tuple[str, str]:
    facts = facts_of(scene)
    if rng.random() < 0.3:
        said, kind = rng.choice(_ABOUT_NOW)
        if kind == "count":
            number = words.NUMBERS[len(scene.things)] if scene.things else "none"
            return typed(said, rng), number
        if kind == "describe":
            return typed(said, rng), f"{question(facts, rng, 'describe')[1]}"
        return typed(said, rng), things_phrase(facts)
    said, answer, _ = question(facts, rng)
    return said, answer


def edit(scene: Scene, rng: random.Random) -> Edit:
    """Something to change, and the changed scene."""
    while True:
        change = rng.choices([e for e, _ in _EDITS], [w for _, w in _EDITS])[0](scene, rng)
        if change is not None:
            return typed(change[0], rng), change[1]


def conversation(rng: random.Random, turns: int, pictures: int) -> list[Turn]:
    """A conversation of `turns` turns with at most `pictures` pictures, the first turn with one."""
    found: list[Turn] = []
    scene: Scene | None = None
    while len(found) < turns:
        dice = rng.random()
        left = pictures - sum((t.shown is not None) + (t.drawn is not None) for t in found)
        if dice < 0.05:
            found.append(Turn(*small_talk(rng) if scene is None else _polite(rng)))
        elif scene is None and left:
            if rng.random() < 0.22:
                scene = random_scene(rng, count=rng.choices((1, 2, 3, 4), (55, 28, 12, 5))[0])
                found.append(Turn(*_ask(scene, rng), shown=scene))
            else:
                asked = prompt(rng, strange=0.03)
                if len(asked.scene.things) > 2 and rng.random() < 0.6:
                    asked = prompt(rng, strange=0.03)  # most begin with little
                scene = asked.scene
                found.append(Turn(asked.text, announced(scene), drawn=scene))
        elif scene is not None and left and dice < 0.66:
            said, scene = edit(scene, rng)
            found.append(Turn(said, announced(scene), drawn=scene))
        elif left and dice < 0.74:
            asked = prompt(rng, strange=0.02)
            before = rng.choice(("now ", "next, ", "and now ", "")) if rng.random() < 0.4 else ""
            scene = asked.scene
            found.append(Turn(before + asked.text, announced(scene), drawn=scene))
        elif scene is not None:
            found.append(Turn(*_ask(scene, rng)))
    return found


def _polite(rng: random.Random) -> tuple[str, str]:
    """Thanks and other talk in the middle of a conversation (no call for a picture)."""
    while True:
        said, reply = small_talk(rng)
        if reply != NO_PICTURE:
            return said, reply
