"""What is said about scenes: captions, questions with answers, and a little small talk."""

import random

from training.world import COLOURS, GROUNDS, SHAPES, Scene, Thing

NUMBERS = ("no", "one", "two", "three")
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big")}
CAPTION_CUE = "The caption of this image is:"

_ONE = (
    "a {thing} on a {ground}",
    "a {thing} on {tone}",
    "{thing} on {tone}",
    "{thing} on a {ground}",
    "there is a {thing} on a {ground}",
    "a picture of a {thing} on a {ground}",
    "one {thing}, {ground}",
    "draw a {thing} in front of a {ground}",
    "on a {ground}, a {thing}",
    "a {ground} with a {thing} on it",
    "the {thing} sits on a {ground}",
)
_RELATIONS = {
    "beside": (
        "a {0} to the left of a {1}",
        "a {0} left of a {1}",
        "a {1} to the right of a {0}",
        "a {1} right of a {0}",
        "a {0} on the left and a {1} on the right",
        "a {0} beside a {1}, which is on the right",
    ),
    "stacked": (
        "a {0} above a {1}",
        "a {1} below a {0}",
        "a {0} over a {1}",
        "a {1} under a {0}",
        "a {0} at the top and a {1} at the bottom",
        "a {0} on top, a {1} below it",
    ),
    "row": (
        "a {0}, a {1} and a {2} in a row",
        "from left to right, a {0}, a {1} and a {2}",
        "a row of a {0}, a {1} and a {2}",
    ),
    "pair_above": (
        "a {0} and a {1} above a {2}",
        "a {2} below a {0} and a {1}",
    ),
    "pair_below": (
        "a {0} above a {1} and a {2}",
        "a {1} and a {2} below a {0}",
    ),
}
_WHERE = (
    "{things} on a {ground}",
    "{things} on a {ground}",
    "{things} on {tone}",
    "{things}, {ground}",
    "on a {ground}, {things}",
    "a picture of {things} on a {ground}",
    "there is {things} on a {ground}",
    "draw {things} on a {ground}",
)
_EMPTY = (
    "an empty {ground}",
    "nothing but a {ground}",
    "just a {ground}",
    "a {ground} with nothing on it",
)
_CHAT = (
    (
        ("Hello", "Hello!", "Hi", "Hi there!", "Good morning"),
        "Hello! I draw small pictures and answer questions about them.",
    ),
    (
        ("Who are you?", "What are you?", "What is your name?"),
        "I am a tiny Liquid model, trained on pictures of simple shapes.",
    ),
    (
        ("What can you do?", "What can you draw?", "Help", "How can you help me?"),
        "I can draw one to three shapes on a background, and tell what a picture shows.",
    ),
    (
        ("Which shapes do you know?", "What shapes do you know?", "What shapes can you draw?"),
        "Circle, square, triangle, star, ring, cross and heart.",
    ),
    (
        ("Which colors do you know?", "What colours do you know?", "What colors can you draw?"),
        "Red, orange, yellow, green, cyan, blue, purple and pink.",
    ),
    (
        ("Which backgrounds do you know?", "What backgrounds can you draw?"),
        "White, gray, black, cream, navy and mint, plain, striped or as a gradient.",
    ),
    (("Thank you", "Thanks!", "Thank you!"), "You are welcome!"),
    (("Goodbye", "Bye", "Bye!", "See you"), "Goodbye!"),
    (("How are you?", "How do you do?"), "I am fine, thank you. What shall I draw?"),
    (
        ("How big are your pictures?", "What size are your pictures?"),
        "64 by 64 pixels, or 96 by 64 when you ask for it.",
    ),
)


def ground_phrase(scene: Scene, rng: random.Random) -> str:
    """The ground and its style in words, without an article."""
    ground = "grey" if scene.ground == "gray" and rng.random() < 0.2 else scene.ground
    noun = rng.choice(("background", "background", "ground"))
    return {
        "plain": rng.choice((f"{ground} {noun}", f"plain {ground} {noun}")),
        "striped": rng.choice((f"striped {ground} {noun}", f"{ground} striped {noun}")),
        "gradient": rng.choice((f"{ground} gradient {noun}", f"{ground} gradient")),
    }[scene.style]


def _describe(thing: Thing, rng: random.Random, brief: float) -> str:
    """Size, colour and shape; with probability `brief` one of them is left unsaid.

    A shape in any colour and a colour in any shape teach the two apart from each other: without
    such captions pairs that training never shows are not drawn.
    """
    size = rng.choice(SIZE_WORDS[thing.size])
    if rng.random() >= brief:
        return f"{size} {thing.colour} {thing.shape}"
    return rng.choice(
        (
            f"{thing.colour} {thing.shape}",
            f"{thing.colour} {thing.shape}",
            f"{size} {thing.shape}",
            thing.shape,
            f"{size} {thing.colour} {rng.choice(('shape', 'thing'))}",
            f"{thing.colour} {rng.choice(('shape', 'thing'))}",
        )
    )


def _articles(text: str) -> str:
    return text.replace("a orange", "an orange").replace("a empty", "an empty")


def caption(scene: Scene, rng: random.Random, *, brief: float = 0.4) -> str:
    """A caption in one of many wordings. With probability `brief` a thing is not described in
    full, and now and then the ground is unsaid; otherwise the caption says everything that is
    drawn, except exact places.
    """
    ground = ground_phrase(scene, rng)
    tone = " ".join(word for word in ground.split() if word not in ("background", "ground"))
    if not scene.things:
        return _articles(rng.choice(_EMPTY).format(ground=ground))
    short = rng.random() < brief / 3
    words = [_describe(thing, rng, brief) for thing in scene.things]
    if scene.layout == "one":
        if short and rng.random() < 0.5:
            text = rng.choice(("a {thing}", "{thing}", "draw a {thing}")).format(thing=words[0])
        else:
            text = rng.choice(_ONE).format(thing=words[0], ground=ground, tone=tone)
    else:
        text = rng.choice(_RELATIONS[scene.layout]).format(*words)
        if not short or rng.random() < 0.5:
            text = rng.choice(_WHERE).format(things=text, ground=ground, tone=tone)
    text = _articles(text)
    if rng.random() < 0.2:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.2 else text


def plain_caption(scene: Scene) -> str:
    """The wording that the model learns to write itself: everything, always in the same form."""
    names = [f"{t.size} {t.colour} {t.shape}" for t in scene.things]
    ground = {"plain": "plain {}", "striped": "striped {}", "gradient": "{} gradient"}
    ground_words = ground[scene.style].format(scene.ground) + " background"
    if not names:
        return f"an empty {ground_words}"
    things = "a {0}" if scene.layout == "one" else _RELATIONS[scene.layout][0]
    return _articles(f"{things.format(*names)} on a {ground_words}")


def _positions(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """(thing, relation, other) for every pair whose relation the layout states."""
    things = scene.things
    if scene.layout in ("beside", "row"):
        pairs = [(a, "left of", b) for i, a in enumerate(things) for b in things[i + 1 :]]
    elif scene.layout == "stacked":
        pairs = [(things[0], "above", things[1])]
    elif scene.layout == "pair_above":
        pairs = [(things[0], "left of", things[1])]
        pairs += [(things[0], "above", things[2]), (things[1], "above", things[2])]
    elif scene.layout == "pair_below":
        pairs = [(things[1], "left of", things[2])]
        pairs += [(things[0], "above", things[1]), (things[0], "above", things[2])]
    else:
        pairs = []
    opposite = {"left of": "right of", "above": "below"}
    return pairs + [(b, opposite[relation], a) for a, relation, b in pairs]


def _name(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def _colour_question(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    shapes = [t.shape for t in scene.things]
    unique = [t for t in scene.things if shapes.count(t.shape) == 1]
    if not unique:
        return None
    thing = rng.choice(unique)
    if len(scene.things) == 1 and rng.random() < 0.3:
        return rng.choice(("What color is it?", "What colour is it?")), thing.colour
    wordings = ("What color is the {}?", "What colour is the {}?", "Which color does the {} have?")
    return rng.choice(wordings).format(thing.shape), thing.colour


def _shape_question(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    colours = [t.colour for t in scene.things]
    unique = [t for t in scene.things if colours.count(t.colour) == 1]
    if not unique:
        return None
    thing = rng.choice(unique)
    if len(scene.things) == 1 and rng.random() < 0.3:
        return rng.choice(("What shape is it?", "Which shape is it?")), thing.shape
    wordings = ("What shape is {}?", "Which shape is {}?", "What is the {} shape?")
    return rng.choice(wordings).format(thing.colour), thing.shape


def _count_question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    wordings = (
        "How many shapes are there?",
        "How many objects are in the picture?",
        "How many things do you see?",
    )
    number = "none" if not scene.things else NUMBERS[len(scene.things)]
    return rng.choice(wordings), number


def _existence_question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    there = {t.pair for t in scene.things}
    colours, shapes = {c for c, _ in there}, {s for _, s in there}
    if there and rng.random() < 0.5:
        colour, shape = rng.choice(sorted(there))
    else:
        near = [(c, s) for c in COLOURS for s in SHAPES if (c in colours) != (s in shapes)]
        crossed = [(c, s) for c in sorted(colours) for s in sorted(shapes)]
        kinds = [k for k in (near, crossed, [(c, s) for c in COLOURS for s in SHAPES]) if k]
        absent = [pair for pair in rng.choice(kinds) if pair not in there]
        if not absent:
            absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in there]
        colour, shape = rng.choice(absent)
    wordings = ("Is there a {} {}?", "Do you see a {} {}?", "Does the picture show a {} {}?")
    question = _articles(rng.choice(wordings).format(colour, shape))
    return question, "yes" if (colour, shape) in there else "no"


def _relation_question(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    relations = _positions(scene)
    if not relations:
        return None
    thing, relation, other = rng.choice(relations)
    if len(scene.things) == 2 and rng.random() < 0.5:
        question = rng.choice(("What is {} the {}?", "Which shape is {} the {}?"))
        answer = _articles(f"a {_name(thing)}")
        return question.format(relation, _name(other)), answer
    asked = relation
    if rng.random() < 0.5:
        thing, other = other, thing
    question = f"Is the {_name(thing)} {asked} the {_name(other)}?"
    return question, "yes" if (thing, asked, other) in relations else "no"


def _ground_question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    wordings = ("What color is the background?", "What colour is the background?")
    return rng.choice((*wordings, "Which background is it?")), scene.ground


def _style_question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    question = rng.choice(("What style is the background?", "How is the background drawn?"))
    return question, scene.style


def _size_question(scene: Scene, rng: random.Random) -> tuple[str, str] | None:
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    if len(scene.things) == 1 and rng.random() < 0.3:
        return rng.choice(("How big is it?", "What size is it?")), thing.size
    wordings = ("How big is the {}?", "What size is the {}?", "Is the {} small or large?")
    return rng.choice(wordings).format(_name(thing)), thing.size


QUESTIONS = {
    "colour": _colour_question,
    "shape": _shape_question,
    "count": _count_question,
    "existence": _existence_question,
    "relation": _relation_question,
    "background": _ground_question,
    "style": _style_question,
    "size": _size_question,
}
_QUESTION_WEIGHTS = (3, 3, 1.5, 5, 14, 1, 1, 1.5)


def question(scene: Scene, rng: random.Random, kind: str | None = None) -> tuple[str, str] | None:
    """A question about a scene and its answer; None if the kind does not fit the scene.

    Without `kind` one is drawn, the harder kinds more often, until one fits.
    """
    if kind is not None:
        return QUESTIONS[kind](scene, rng)
    while True:
        drawn = rng.choices(list(QUESTIONS), _QUESTION_WEIGHTS)[0]
        asked = QUESTIONS[drawn](scene, rng)
        if asked is not None:
            return asked


def small_talk(rng: random.Random) -> tuple[str, str]:
    """Something a newcomer may say, and the reply."""
    openings, reply = rng.choice(_CHAT)
    said = rng.choice(openings)
    if rng.random() < 0.4:
        said = said.lower()
    return said.rstrip("!?.") if rng.random() < 0.3 else said, reply


def vocabulary() -> tuple[str, ...]:
    """The words that name facts."""
    return (*COLOURS, *SHAPES, *GROUNDS)
