"""Measure a converted model through liquid_mlx: what it draws, answers and says in conversation.

    python -m training.evaluate MODEL results.json --share 0.2 --sheet sheet.png

Pictures are judged by `training.judge`, which looks at pixels only; what counts as right is in
`training.everyday`. Beside the figures, `results.failures.png` shows the pictures that failed.
Needs scikit-image, scikit-learn, matplotlib and PyWavelets, for their sample pictures.
"""

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import liquid_mlx
from liquid_mlx.evaluation.figures import Scored, mean
from training import everyday
from training.judge import SPECK, Reading, read
from training.measures.conversations import converse
from training.measures.material import (
    SEED,
    counts,
    group,
    named,
    on_backgrounds,
    other_words,
    outside_pictures,
    random_scene,
    several,
)
from training.measures.sheets import Tile, draw_sheet
from training.world import PAIRS

MANY = 100  # prompts of each kind that is made up here
PICTURES_A_PAIR = 10
GUIDANCES = (1.0, 2.0, 3.0, 4.0)
MOST_TOKENS = 64
OUTSIDE_QUESTIONS = (
    "What is this?",
    "What do you see?",
    "Is there a circle?",
    "How many shapes are there?",
    "What colour is it?",
    "Describe the picture.",
    "What is in the middle?",
    "Where is the star?",
)
HERO = (
    "a red circle", "two yellow stars", "a blue square next to a pink heart",
    "draw me a green triangle please", "a pink donut on a navy background", "three hearts in a row",
    "an orange star above a purple ring", "a cyan cross on gray stripes", "BLUE STAR",
    "a violet triangle on mint", "a yellow sun", "a yellow ring in the top left corner",
)  # fmt: skip


@dataclass
class Measured:
    """Rights and wrongs of one task; `kinds` are shares within it, `wrongs` tell what failed."""

    right: list[bool] = field(default_factory=list)
    kinds: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    wrongs: list[str] = field(default_factory=list)
    specks: list[float] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, right: bool, wrong: str, kinds: Iterable[str] = ()) -> None:
        self.right.append(right)
        for kind in kinds:
            self.kinds[kind].append(right)
        if not right:
            self.wrongs.append(wrong)

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = {"right": float(np.mean(self.right)), "of": len(self.right)}
        rows = [(float(right), 1.0) for right in self.right]
        found["interval"] = Scored("", {"all": rows}, mean("right")).intervals()["all"]["right"]
        if self.specks:
            found["clean"] = float(np.mean([speck <= SPECK for speck in self.specks]))
        found["seconds"] = round(self.seconds, 1)
        if self.kinds:
            found["kinds"] = {
                kind: f"{sum(right)} of {len(right)}" for kind, right in sorted(self.kinds.items())
            }
        if self.wrongs:
            found["wrong"] = dict(Counter(self.wrongs).most_common())
        return found


def drawn(liquid, prompt: str, count: int, seed: int, **settings) -> Iterator[np.ndarray]:
    for picture in liquid.generate_image(prompt, count=count, seed=seed, **settings):
        yield np.asarray(picture.image.convert("RGB"))


def measure_drawing(
    liquid, prompts: list[tuple[str, dict]], count: int = 1, named: bool = True, **settings
) -> Measured:
    """Draw each prompt `count` times; `named` says whether failures may show the prompt."""
    found = Measured()
    for seed, (prompt, picture) in enumerate(prompts):
        for pixels in drawn(liquid, prompt, count, seed * count, **settings):
            reading = read(pixels)
            wrong = everyday.wrong(picture, reading)
            found.specks.append(reading.speck)
            found.add(not wrong, f"{wrong}: {prompt}" if named else wrong, _kinds(picture))
            if wrong or reading.speck > SPECK:
                text = f"{wrong or 'speck'}: {prompt if named else _wanted(picture)}"
                found.tiles.append(Tile.of(pixels, text))
    return found


def _kinds(picture: dict) -> Iterator[str]:
    groups = picture["things"]
    counts = [max(group.get("count", [1])) for group in groups]
    yield f"{min(sum(counts), 4)} things" if sum(counts) != 1 else "1 thing"
    yield from (kind for kind in ("relations", "place", "arrangement") if kind in picture)
    if any(count > 1 for count in counts):
        yield "numbers"
    if any("size" in group for group in groups):
        yield "size"
    if any(not isinstance(group[k], str) for group in groups for k in ("colour", "shape")):
        yield "open or near colour or shape"
    yield "background" if picture["background"] else "no background"


def _wanted(picture: dict) -> str:
    """What a picture must show, without the words of its prompt."""
    groups = [
        " ".join(
            str(part)
            for part in (g.get("count", ""), g.get("size", ""), g["colour"], g["shape"])
            if part
        )
        for g in picture["things"]
    ]
    rest = [str(picture[k]) for k in ("background", "relations", "place") if picture.get(k)]
    return "; ".join(groups + rest)


def measure_pairs(liquid, count: int) -> Measured:
    prompts = [(named(*p), {"things": [group(*p)], "background": None}) for p in PAIRS]
    found = measure_drawing(liquid, prompts, count)
    found.kinds.clear()
    for number, (colour, shape) in enumerate(PAIRS):
        right = found.right[number * count : (number + 1) * count]
        found.kinds["pairs that are always right"].append(all(right))
        found.kinds[colour] += right
        found.kinds[shape] += right
    return found


def measure_second_size(liquid, prompts: list[tuple[str, dict]]) -> Measured:
    size = liquid.config.sizes[1]
    return measure_drawing(liquid, prompts, width=size.width, height=size.height)


def measure_prompts(liquid, share: float) -> Measured:
    entries = _some(everyday.load("prompt"), share)
    return measure_drawing(liquid, [(e["prompt"], e) for e in entries], 2, named=False)


def measure_unknown(liquid, share: float) -> Measured:
    nothing = {"things": [], "background": None}
    entries = _some(everyday.load("unknown"), share)
    return measure_drawing(liquid, [(e["prompt"], nothing) for e in entries], named=False)


# Answers


def _some(entries: list, share: float) -> list:
    """A share of a list, spread over it."""
    return entries[:: max(1, round(1 / share))]


def measure_questions(liquid, share: float, off_grid: bool) -> Measured:
    found, scenes = Measured(), defaultdict(list)
    for entry in everyday.load("question"):
        if entry["off_grid"] == off_grid:
            scenes[json.dumps(entry["scene"])].append(entry)
    for entries in _some(list(scenes.values()), share):
        scene = entries[0]["scene"]
        picture, reading = everyday.shown(scene), everyday.as_reading(scene)
        questions = [entry["question"] for entry in entries]
        answers = liquid.answers(picture, questions, max_tokens=MOST_TOKENS)
        for entry, answer in zip(entries, answers, strict=True):
            right = everyday.is_right(answer, entry, reading)
            kind = " ".join(everyday.normalized(entry["question"]).split()[:2])
            found.add(right, f"{kind} ...", [kind])
            if not right:
                found.tiles.append(Tile.of(np.asarray(picture), f"{kind} ...: {answer}"))
    return found


def measure_captions(liquid, number: int, off_grid: bool) -> Measured:
    """A caption is right if it names just the things of the picture, and its background if any."""
    rng, found = random.Random(f"{SEED} captions"), Measured()
    for _ in range(number):
        scene = random_scene(rng, off_grid)
        picture, reading = everyday.shown(scene), everyday.as_reading(scene)
        written = liquid.caption(picture, max_tokens=MOST_TOKENS)
        right = everyday.is_right(written, {"describe": True}, reading)
        truth = ", ".join(" ".join(thing.pair) for thing in reading.things)
        found.add(right, f"{truth} on {reading.background}: {written}", [f"{len(reading.things)}"])
        if not right:
            found.tiles.append(Tile.of(np.asarray(picture), written))
    return found


def measure_outside(liquid, number: int) -> Measured:
    """A picture is right if its caption and the answers to two questions say that it is outside."""
    found, wanted = Measured(), everyday.normalized(everyday.OUTSIDE)
    for i, picture in enumerate(outside_pictures(number)):
        questions = [OUTSIDE_QUESTIONS[(i + step) % len(OUTSIDE_QUESTIONS)] for step in (0, 3)]
        said = [
            liquid.caption(picture, max_tokens=MOST_TOKENS),
            *liquid.answers(picture, questions, max_tokens=MOST_TOKENS),
        ]
        wrongs = [text for text in said if everyday.normalized(text) != wanted]
        found.add(not wrongs, " / ".join(wrongs))
        if wrongs:
            small = picture.resize((128, 128))
            found.tiles.append(Tile.of(np.asarray(small), wrongs[0]))
    return found


def measure_conversations(liquid, share: float) -> Measured:
    """A conversation is right if all its turns are."""
    found = Measured()
    for seed, entry in enumerate(_some(everyday.load("conversation"), share)):
        picture: dict | None = None
        reading: Reading | None = None
        wrongs = []
        for number, (turn, said, pixels) in enumerate(converse(liquid, entry["turns"], seed), 1):
            kind = ""
            if pixels is not None:
                reading = read(pixels)
            if turn["picture"]:
                picture = turn["picture"]
                if pixels is None:
                    kind = "no picture"
                elif reading is not None:
                    kind = everyday.wrong(picture, reading)
            elif pixels is not None:
                kind = "a picture that nobody asked for"
            elif {"answers", "describe", "where"} & set(turn) and reading is not None:
                ordered = everyday.in_order(picture, reading) if picture else reading
                kind = "" if everyday.is_right(said, turn, ordered) else "answer"
            elif "answers" in turn:
                kind = "answer before a picture"
            found.kinds["turns"].append(not kind)
            found.kinds[f"turn {number}"].append(not kind)
            if kind:
                wrongs.append(kind)
                if pixels is not None:
                    found.tiles.append(Tile.of(pixels, f"turn {number}, {kind}"))
        found.add(not wrongs, wrongs[0] if wrongs else "")
    return found


def tasks(share: float) -> dict[str, Any]:
    """What is measured, the longest first: name -> a function of the model."""
    many = max(8, round(MANY * share))
    found: dict[str, Any] = {
        "everyday prompts": partial(measure_prompts, share=share),
        "pairs": partial(measure_pairs, count=max(1, round(PICTURES_A_PAIR * share))),
        "conversations": partial(measure_conversations, share=share),
        "questions on the grid": partial(measure_questions, share=share, off_grid=False),
        "questions off the grid": partial(measure_questions, share=share, off_grid=True),
        "outside pictures": partial(measure_outside, number=many),
        "unknown prompts": partial(measure_unknown, share=share),
        "other words": partial(measure_drawing, prompts=_some(other_words(), share)),
        "captions on the grid": partial(measure_captions, number=many, off_grid=False),
        "captions off the grid": partial(measure_captions, number=many, off_grid=True),
    }
    made_up = {
        "two things": several(many, 2),
        "three things": several(many, 3),
        "numbers": counts(many),
        "backgrounds": on_backgrounds(many),
    }
    for name, prompts in made_up.items():
        found[name] = partial(measure_drawing, prompts=prompts)
    for guidance in GUIDANCES:
        mixed = [p for four in zip(*made_up.values(), strict=True) for p in four][: many // 2]
        found[f"guidance {guidance:g}"] = partial(measure_drawing, prompts=mixed, guidance=guidance)
    one_or_two = several(many // 2, 1) + several(many // 2, 2)
    found["second size"] = partial(measure_second_size, prompts=one_or_two)
    return found


def _load(model: str) -> None:
    global _liquid
    _liquid = liquid_mlx.load(model)


def _measure(name: str, share: float) -> Measured:
    started = time.time()
    found = tasks(share)[name](_liquid)
    found.seconds = time.time() - started
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("results", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of items")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="tasks whose name contains this")
    parser.add_argument("--sheet", type=Path, help="draw the README's pictures, too")
    options = parser.parse_args()
    started, results, tiles, specks = time.time(), {}, [], []
    with ProcessPoolExecutor(
        options.processes, get_context("spawn"), initializer=_load, initargs=(options.model,)
    ) as pool:
        names = [name for name in tasks(options.share) if options.only in name]
        running = {pool.submit(_measure, name, options.share): name for name in names}
        for future in as_completed(running):
            name, found = running[future], future.result()
            results[name] = found.summary()
            tiles += [tile.under(name) for tile in found.tiles]
            specks += found.specks if not name.startswith("guidance") else []
            if specks:
                clean = float(np.mean([speck <= SPECK for speck in specks]))
                results["clean pictures"] = {"right": clean, "of": len(specks)}
            options.results.write_text(json.dumps(results, indent=1) + "\n")
            right = f"{100 * results[name]['right']:.1f} % of {results[name]['of']}"
            print(f"{time.time() - started:.0f} s  {name}: {right}", flush=True)
    if tiles:
        draw_sheet(tiles, options.results.with_suffix(".failures.png"))
    if options.sheet:
        liquid = liquid_mlx.load(options.model)
        hero = [(prompt, next(drawn(liquid, prompt, 1, 0))) for prompt in HERO]
        draw_sheet([Tile.of(pixels, prompt) for prompt, pixels in hero], options.sheet, columns=6)


if __name__ == "__main__":
    main()
