"""How prompts name a background and a thing."""

import random
from dataclasses import dataclass

from training.language import words
from training.language.forms import APART, SIZE_APART
from training.language.words import article, plural
from training.world import Thing


def background_noun(background: str, style: str, rng: random.Random) -> str:
    """The background's tone and style in words."""
    tone = background
    if rng.random() < 0.3:
        tone = rng.choice(words.BACKGROUND_WORDS[background])
    if style == "striped":
        return rng.choice(("striped {}", "striped {}", "{} striped", "stripy {}")).format(tone)
    return rng.choice((f"plain {tone}", f"{tone} gradient")) if rng.random() < 0.1 else tone


def with_background(text: str, background: str, style: str, rng: random.Random) -> str:
    """The text with the background said somewhere."""
    tone = background_noun(background, style, rng)
    noun = rng.choice(("background", "background", "background", "backdrop", "ground", "canvas"))
    dice = rng.random()
    if style == "striped" and dice < 0.2:
        return f"{text} on {tone.replace('striped', '').replace('stripy', '').strip()} stripes"
    if dice < 0.62:
        before = rng.choice(("on", "on", "on", "on", "against", "in front of", "over", "with"))
        return f"{text} {before} {article(tone)} {noun}"
    if dice < 0.74:
        return f"{text} on {tone}"
    surface = rng.choice(("paper", "wall", "surface", "field", "page", "sheet", "sky", "floor"))
    forms = (
        f"{text}, {tone} {noun}", f"{text} {tone} {noun}", f"on {article(tone)} {noun}, {text}",
        f"{article(tone)} {noun} with {text}", f"{tone} {noun}, {text}", f"{text}, {noun} {tone}",
        f"{text} and {article(tone)} {noun}", f"{text} on {article(tone)} {surface}",
        f"{text} and the {noun} should be {tone}", f"{text}. the {noun} is {tone}",
        f"{text}, the {noun} is {tone}", f"{text} with {tone} behind", f"on {tone} {text}",
        f"{text} in front of {tone}", f"{text}, {noun}: {tone}", f"{text} painted on {tone}",
        f"{text} in {article(tone)} sky", f"{text} under {article(tone)} sky",
        f"{article(tone)} {noun} with {text} on it", f"{tone} with {text} on it", f"{tone} {noun} and {text}",
        f"{article(tone)} {noun} and on it {text}", f"{noun}: {tone}, {text}", f"{text} ({tone} {noun})",
        f"{text}, make the {noun} {tone}", f"on {tone}, {text}", f"all {tone} with {text}", f"{tone} with {text}",
        f"{text} with {tone} around it", f"{tone} all around {text}", f"everything {tone}, and {text}", f"{text} on {tone} {noun}", f"{text} against {tone}",
    )  # fmt: skip
    return rng.choice(forms)


@dataclass
class Named:
    """A thing with what is said of it; what is not said is free."""

    thing: Thing
    says_size: bool
    says_colour: bool = True
    says_shape: bool = True

    def noun(self, rng: random.Random, *, many: bool = False) -> str:
        """Without an article."""
        thing = self.thing
        parts = []
        if rng.random() < 0.05:
            parts.append(words.adjective(rng))
        if self.says_size:
            parts.append(rng.choice(words.SIZE_WORDS[thing.size]))
        if self.says_colour:
            parts.append(words.colour_word(thing.colour, rng))
        elif self.says_shape and rng.random() < 0.15:
            parts.append(rng.choice(words.NO_COLOURS))
        rare = words.SYNONYMS if self.says_colour else 0.75  # the shape alone tells
        shape = words.shape_word(thing.shape, rng, rare)
        if not self.says_shape:
            shape = rng.choice(("shape", "thing", "shape", "object", "figure", "form"))
        elif not self.says_colour and thing.colour == "yellow" and rng.random() < 0.3:
            shape = rng.choice(("sun", "moon")) if thing.shape == "circle" else shape
        if rng.random() < 0.03:
            parts.insert(rng.randrange(len(parts) + 1), words.adjective(rng))
        parts.append(plural(shape) if many else shape)
        if len(parts) > 1 and self.says_size and rng.random() < 0.06:
            parts[0], parts[1] = parts[1], parts[0]
        return " ".join(parts)

    def phrase(self, rng: random.Random, style: int) -> str:
        """With an article or without, as `style` (one for a whole prompt) says."""
        noun = self.noun(rng)
        if not self.says_shape and self.says_colour and not self.says_size and rng.random() < 0.4:
            colour = noun.split(" ", 1)[0] if " " in noun else noun
            if colour == self.thing.colour:
                return rng.choice((f"something {colour}", f"something in {colour}", colour))
        if self.says_colour and self.says_shape and rng.random() < 0.06:
            return self._apart(rng)
        if style == 0:
            return noun
        return rng.choice(("one ", "the ", "a single ", "1 ")) + noun if style == 2 else article(noun)


    def _apart(self, rng: random.Random) -> str:
        """With the colour, and the size, said behind the shape."""
        colour, shape = words.colour_word(self.thing.colour, rng), self.thing.shape
        if not self.says_size:
            return rng.choice(APART).format(article(shape), colour)
        size = rng.choice(words.SIZE_WORDS[self.thing.size])
        if rng.random() < 0.5:
            return rng.choice(APART).format(article(f"{size} {shape}"), colour)
        return rng.choice(SIZE_APART).format(a=article(shape), shape=shape, colour=colour, size=size)
