"""Small talk, what lies outside of the world, and conversations that draw."""

import random
from dataclasses import dataclass

from training.language import words
from training.language.edits import edit
from training.language.facts import background_name, facts_of, things_phrase
from training.language.prompts import prompt
from training.language.questions import question
from training.language.words import article, typed
from training.scenes import random_scene
from training.world import Scene

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


_ABOUT_NOW = (
    ("what did you draw?", "what"), ("what have you drawn?", "what"), ("what is it now?", "what"),
    ("what do you see now?", "what"), ("what's in the picture now?", "what"), ("and what is that?", "what"),
    ("what did you just draw?", "what"), ("describe what you drew", "describe"), ("describe your picture", "describe"),
    ("describe it now", "describe"), ("what does your picture show?", "what"), ("what is in your picture?", "what"),
    ("how many shapes are there now?", "count"), ("how many are there now?", "count"), ("how many did you draw?", "count"),
)  # fmt: skip


def _ask(scene: Scene, rng: random.Random, late: bool) -> tuple[str, str]:
    facts = facts_of(scene)
    if rng.random() < 0.3:
        said, kind = rng.choice(_ABOUT_NOW)
        if kind == "count":
            number = words.NUMBERS[len(scene.things)] if scene.things else "none"
            return typed(said, rng), number
        if kind == "describe":
            return typed(said, rng), question(facts, rng, 'describe')[1]
        return typed(said, rng), things_phrase(facts)
    said, answer, _ = question(facts, rng, late=late)
    return said, answer


def conversation(
    rng: random.Random, turns: int, pictures: int, *, late: bool = False
) -> list[Turn]:
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
                found.append(Turn(*_ask(scene, rng, late), shown=scene))
            else:
                asked = prompt(rng, strange=0.03, late=late)
                if len(asked.scene.things) > 2 and rng.random() < 0.6:
                    asked = prompt(rng, strange=0.03, late=late)  # most begin with little
                scene = asked.scene
                found.append(Turn(asked.text, announced(scene), drawn=scene))
        elif scene is not None and left and dice < 0.66:
            said, scene = edit(scene, rng, late=late)
            found.append(Turn(said, announced(scene), drawn=scene))
        elif left and dice < 0.74:
            asked = prompt(rng, strange=0.02, late=late)
            before = rng.choice(("now ", "next, ", "and now ", "")) if rng.random() < 0.4 else ""
            scene = asked.scene
            found.append(Turn(before + asked.text, announced(scene), drawn=scene))
        elif scene is not None:
            found.append(Turn(*_ask(scene, rng, late)))
    return found


def _polite(rng: random.Random) -> tuple[str, str]:
    """Thanks and other talk in the middle of a conversation (no call for a picture)."""
    while True:
        said, reply = small_talk(rng)
        if reply != NO_PICTURE:
            return said, reply
