"""A quick look at a model while it trains: `python -m training.measures.quick MODEL [--sheet sheet.png]`.

Prompts typed by hand, one greedy picture each, read from its codes: no decoder is needed. The
yardstick (`training.evaluate`) is another list, by another author, and looks at pixels.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from training.cells import scene_codes, tone_codes
from training.world import COLOURS, ROWS, SHAPES, SPANS, Scene, Thing

# Prompt -> things in any order, then the background if it matters. An empty name stands for any.
PROMPTS = {
    "a red circle": "red circle",
    "Draw a blue square": "blue square",
    "green triangle": "green triangle",
    "yellow star please": "yellow star",
    "A purple ring.": "purple ring",
    "can you draw me an orange cross?": "orange cross",
    "pink heart": "pink heart",
    "show me a cyan circle": "cyan circle",
    "BLUE CIRCLE": "blue circle",
    "a heart": " heart",
    "star": " star",
    "something green": "green ",
    "red": "red ",
    "a violet donut": "purple ring",
    "crimson disc": "red circle",
    "a teal box": "cyan square",
    "a golden star": "yellow star",
    "a light blue ball": "cyan circle",
    "plus sign in green": "green cross",
    "a big red heart": "red heart",
    "tiny blue star": "blue star",
    "a huge orange triangle on a black background": "orange triangle/black",
    "a red circle on a white background": "red circle/white",
    "yellow ring on navy": "yellow ring/navy",
    "a pink star on a gray background": "pink star/gray",
    "a green heart on a grey striped background": "green heart/gray",
    "a red square, background blue": "red square/blue",
    "a white heart-shaped balloon": " heart",
    "blue cross against a yellow backdrop": "blue cross/yellow",
    "a purple circle on a dark background": "purple circle/black",
    "a red circle and a blue square": "red circle, blue square",
    "red circle and blue square": "red circle, blue square",
    "a green star next to a pink heart": "green star, pink heart",
    "a yellow triangle above a purple ring": "yellow triangle, purple ring",
    "an orange circle under a cyan cross": "orange circle, cyan cross",
    "a red star left of a red heart": "red star, red heart",
    "a circle and a square": " circle, square",
    "a red circle inside a blue square": "red circle, blue square",
    "a blue heart and a red heart": "blue heart, red heart",
    "Draw a pink square and a green circle on a black background.": "pink square, green circle/black",
    "two red stars": "red star, red star",
    "2 blue circles": "blue circle, blue circle",
    "three hearts in a row": " heart, heart, heart",
    "three green squares": "green square, green square, green square",
    "a pair of yellow rings": "yellow ring, yellow ring",
    "four orange triangles": "orange triangle, orange triangle, orange triangle, orange triangle",
    "two purple crosses on a white background": "purple cross, purple cross/white",
    "a red circle, a blue square and a green triangle": "red circle, blue square, green triangle",
    "red star, yellow star, blue star": "red star, yellow star, blue star",
    "a star between two hearts": " star, heart, heart",
    "two red circles and a blue star": "red circle, red circle, blue star",
    "a red circle in the top left corner": "red circle",
    "a blue star in the corner": "blue star",
    "green ring at the bottom": "green ring",
    "a beautiful shiny red circle": "red circle",
    "a cat and a blue square": "blue square",
    "a picture of a yellow sun": "yellow circle",
    "a house": "",
    "a dog riding a bicycle": "",
    "sdkjfh": "",
    "an empty white background": "/white",
    "an elephant in the kitchen": "",
    "I would like a red triangle and a yellow circle, please": "red triangle, yellow circle",
    "create an image of a cyan star on mint": "cyan star/mint",
}


def _block(codes: np.ndarray, row: int, column: int) -> Thing | None:
    """The thing whose upper left corner this is."""
    offset, colours = len(tone_codes()[1]), list(COLOURS)
    for size in ("large", "small"):
        span = SPANS[size]
        part = codes[row : row + span, column : column + span]
        if part.shape != (span, span):
            continue
        hues = {(int(c) - offset) % len(colours) for c in part.flat if c >= offset}
        for shape in SHAPES:
            for hue in hues:
                thing = Thing(shape, colours[hue], size)
                own = scene_codes(Scene((thing,)))[:span, :span]
                inner = own >= offset
                if (part[inner] == own[inner]).all():
                    return thing.at(column, row)
    return None


def read(codes: np.ndarray) -> tuple[list[Thing], str, int]:
    """Things, background, and how many cells fit neither, of codes [8, columns]."""
    names = {code: name for (name, _, _), code in reversed(tone_codes()[0].items())}
    left, things = codes.copy(), []
    plain = Counter(names[int(c)] for c in codes.flat if int(c) in names)
    background = plain.most_common(1)[0][0] if plain else "?"
    for row in range(ROWS):
        for column in range(codes.shape[1]):
            thing = _block(left, row, column)
            if thing is not None:
                things.append(thing)
                left[row : row + thing.span, column : column + thing.span] = -1
    spoilt = sum(int(c) >= 0 and int(c) not in names for c in left.flat)
    return things, background, spoilt


def right(wanted: str, codes: np.ndarray) -> bool:
    """Whether a picture's codes show what a line of PROMPTS says."""
    things, background, spoilt = read(codes)
    named, _, ground = wanted.partition("/")
    words = [w.strip() for w in named.split(",") if w.strip()]
    if spoilt or len(words) != len(things) or ground not in ("", background):
        return False
    left = [f"{t.colour} {t.shape}" for t in things]
    for word in words:
        fits = [name for name in left if all(part in name.split() for part in word.split())]
        if not fits:
            return False
        left.remove(fits[0])
    return True


def main() -> None:
    import liquid_mlx

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    liquid = liquid_mlx.load(options.model)
    pictures, good = [], 0
    for prompt, wanted in PROMPTS.items():
        (drawn,) = liquid.generate_image(prompt, seed=0, temperature=0, guidance=1)
        fine = right(wanted, drawn.codes)
        good += fine
        pictures.append(np.asarray(drawn.image.convert("RGB")))
        if not fine:
            things, background, spoilt = read(drawn.codes)
            seen = ", ".join(f"{t.colour} {t.shape}" for t in things) or "nothing"
            print(f"{prompt!r}: {seen} on {background}, {spoilt} other cells")
    print(f"{good} of {len(PROMPTS)} right")
    if options.sheet:
        rows = [np.concatenate(pictures[i : i + 8], axis=1) for i in range(0, len(pictures), 8)]
        Image.fromarray(np.concatenate(rows)).save(options.sheet)


if __name__ == "__main__":
    main()
