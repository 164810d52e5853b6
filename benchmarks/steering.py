"""Steering pictures, measured: ``python -m benchmarks.steering [PART ...] [--share 0.1]``.

    batch   4 different prompts at once, against one after another (mid-size model, random weights)
    file    a file of 100 prompts in batches, against one after another
    masks   one thing of a picture is masked and another asked for
    vary    how alike variations are, by strength
    best    best of 4: what each judge wins, and what pruning costs and saves

All but ``batch`` run on the bundled model. What a picture shows is read from its pixels by
`training.judge`, which knows nothing of the model.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.loops.geometry import MID
from benchmarks.loops.liquid import Loop
from benchmarks.loops.side_by_side import machine
from liquid_mlx import Liquid, load
from liquid_mlx.generation.best_of import scores
from liquid_mlx.generation.image import Draw, draw_codes
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.params import ImageParams
from liquid_mlx.results import GeneratedImage
from training.everyday import wrong
from training.judge import Reading, Seen, read
from training.measures.material import group, named
from training.world import PAIRS, SHAPES

SEED = 412
STRENGTHS = (0.0, 0.1, 0.3, 0.6, 1.0)
CANDIDATES = 4
SHARE_WANTED = (0.6, 0.8)  # of single pictures that are right, where a choice can help
WARM: dict[str, Any] = {"guidance": 1.0, "temperature": 1.2}  # where pictures of a prompt differ
HOT = {"guidance": 1.0, "temperature": 1.6, "top_p": 1.0}  # where an edit often fails
NEAR = 0.5  # of a cell: how far a thing that was kept may seem to have moved


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def table(*rows: Sequence[object]) -> None:
    for i, row in enumerate(rows):
        print("| " + " | ".join(map(str, row)) + " |")
        if not i:
            print("|" + "---|" * len(row))
    print(flush=True)


def pixels(picture: GeneratedImage) -> np.ndarray:
    return np.asarray(picture.image.convert("RGB"))


def scenes(number: int, things: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Prompts of different things, with what they name; another list than any in training/."""
    rng, found = random.Random(f"{SEED} {things}"), []
    for _ in range(number):
        pairs = rng.sample(PAIRS, things)
        *first, last = [named(*pair) for pair in pairs]
        found.append((f"{', '.join(first)} and {last}" if first else last, pairs))
    return found


def is_right(pairs: Sequence[tuple[str, str]], picture: GeneratedImage) -> bool:
    shown = {"things": [group(*pair) for pair in pairs], "background": None}
    return not wrong(shown, read(pixels(picture)))


def measure_batch(share: float) -> None:
    """4 prompts of different lengths with the mid-size model: same codes, and how much faster."""
    loop, total = Loop(MID), max(16, round(MID.total * share))
    rng = np.random.default_rng(SEED)
    prompts = [rng.integers(10, 5000, size=length).tolist() for length in (9, 14, 22, 31)]
    params = ImageParams(guidance=7.0)

    def run(which: list[int]) -> np.ndarray:
        prefixes = [prefill(loop.backbone, prompts[i]) for i in which]
        prefixes.append(prefill(loop.backbone, [2, 9, 7]))
        draw = Draw([100 + i for i in which], params, list(range(len(which))))
        steps = draw_codes(loop.backbone, loop.head, loop.offset, prefixes, draw, total)
        *_, last = steps
        return last.codes

    run([0])
    ratios, rows = [], []
    for _ in range(3):
        alone, codes = timed(lambda: np.concatenate([run([i]) for i in range(4)]))
        together, same = timed(lambda: run([0, 1, 2, 3]))
        assert np.array_equal(codes, same), "the pictures differ"
        ratios.append(alone / together)
        rows.append((4 * total / alone, 4 * total / together))
    print(f"### 4 different prompts at once: mid, {total} codes each, the same codes\n")
    slow, fast = (median(column) for column in zip(*rows, strict=True))
    table(
        ("one after another", "at once", "times"),
        (f"{slow:.1f} codes/s", f"{fast:.1f} codes/s", f"{median(ratios):.2f}"),
    )


def measure_file(liquid: Liquid, share: float) -> None:
    """Many prompts, as `liquid generate --prompt-file` draws them."""
    prompts = [text for text, _ in scenes(max(8, round(100 * share)), 1)]
    liquid.generate_images(prompts[:2], seeds=1)
    slow, alone = timed(lambda: liquid.generate_images(prompts, seeds=1, batch_size=1))
    fast, together = timed(lambda: liquid.generate_images(prompts, seeds=1))
    same = sum(np.array_equal(a.codes, b.codes) for a, b in zip(alone, together, strict=True))
    print(f"### A file of {len(prompts)} prompts ({same} pictures are the same)\n")
    table(
        ("one after another", "in batches", "times"),
        (f"{slow:.1f} s", f"{fast:.1f} s", f"{slow / fast:.2f}"),
    )


def thing_mask(thing: Seen, liquid: Liquid, shape: tuple[int, ...]) -> np.ndarray:
    """bool: the codes that a thing touches."""
    cell, half = liquid.config.vqgan.factor, thing.side / 2
    mask = np.zeros(shape, bool)
    top, bottom = int((thing.y - half) // cell), int(-(-(thing.y + half) // cell))
    left, right = int((thing.x - half) // cell), int(-(-(thing.x + half) // cell))
    mask[max(0, top) : bottom, max(0, left) : right] = True
    return mask


def beside(reading: Reading, there: Reading, gone: Seen, new: tuple[str, str], near: float) -> str:
    """What is wrong with an edit: "other" things changed, or "new": the new one is not there."""
    left = list(there.things)
    for old in reading.things:
        if old is gone:
            continue
        same = [
            t for t in left if t.pair == old.pair and max(abs(t.x - old.x), abs(t.y - old.y)) < near
        ]
        if not same:
            return "other"
        left.remove(same[0])
    return "" if [thing.pair for thing in left] == [new] else "new"


def edits(liquid: Liquid, wanted: int, settings: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with edits of pictures of which one thing is masked, by how one was chosen."""
    rng, cell = random.Random(f"{SEED} masks"), liquid.config.vqgan.factor
    found: dict[str, list[str]] = {}
    some = scenes(2 * wanted, 2)
    pictures = liquid.generate_images([text for text, _ in some], seeds=0)
    for (_, pairs), picture in zip(some, pictures, strict=True):
        reading = read(pixels(picture))
        if not is_right(pairs, picture):
            continue
        which = rng.randrange(2)
        gone = next(thing for thing in reading.things if thing.pair == pairs[which])
        mask = thing_mask(gone, liquid, picture.codes.shape)
        new = rng.choice([pair for pair in PAIRS if pair not in pairs])
        now = [new if i == which else pair for i, pair in enumerate(pairs)]
        prompt = " and ".join(named(*pair) for pair in now)
        every = liquid.generate_image(
            prompt,
            keep=picture.codes,
            mask=mask,
            best_of=CANDIDATES,
            judge="kept",
            keep_all=True,
            seed=picture.settings.seed,
            **settings,
        )
        assert all(np.array_equal(one.codes[~mask], picture.codes[~mask]) for one in every)
        kinds = [beside(reading, read(pixels(e)), gone, new, NEAR * cell) for e in every]
        codes = np.stack([one.codes for one in every])
        said = scores(liquid.engine, "both", prompt, [], codes, None)
        seeds = [one.settings.seed for one in every]
        chosen = {
            "one alone": seeds.index(picture.settings.seed),
            "kept": 0,
            "likelihood": int(np.argmax([one["likelihood"] for one in said])),
            "question": int(np.argmax([one["yes"] for one in said])),
            "both": int(np.argmax([one["score"] for one in said])),
            f"any of {CANDIDATES}": kinds.index(min(kinds)),  # "" is the least
        }
        for way, i in chosen.items():
            found.setdefault(way, []).append(kinds[i])
        if len(found["kept"]) == wanted:
            break
    return found


def measure_masks(liquid: Liquid, share: float) -> None:
    """Two things are drawn, one is masked, and another asked for in its place."""
    for name, settings in (("the model's settings", {}), (str(HOT), HOT)):
        found = edits(liquid, max(5, round(100 * share)), settings)
        if not found:
            print("No picture was right to begin with: nothing to mask.\n")
            return
        rows = [
            (
                way,
                f"{100 * kinds.count('') / len(kinds):.0f} %",
                f"{100 * (1 - kinds.count('other') / len(kinds)):.0f} %",
            )
            for way, kinds in found.items()
        ]
        number = len(found["kept"])
        print(f"### One thing of {number} pictures masked, another asked for: {name}\n")
        print("Outside the mask the codes are the same in all.\n")
        table(("chosen by", "all is as asked for", "the other is as it was"), *rows)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.square(a.astype(float) - b).mean())
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def measure_vary(liquid: Liquid, share: float) -> None:
    """Variations of pictures whose noise is known, and of the same pictures without it.

    Prompts and settings leave something open: of a fully named picture there is but one.
    """
    rng = random.Random(f"{SEED} vary")
    prompts = [
        " and ".join(f"a {shape}" for shape in rng.sample(SHAPES, 2))
        for _ in range(max(5, round(40 * share)))
    ]
    pictures = liquid.generate_images(prompts, seeds=0, **WARM)
    rows: list[tuple[object, ...]] = [("strength", "equal codes", "PSNR", "equal codes", "PSNR")]
    for strength in STRENGTHS:
        cells: list[str] = []
        for known in (True, False):
            equal, noise = [], []
            for prompt, picture in zip(prompts, pictures, strict=True):
                (varied,) = liquid.vary(
                    picture if known else picture.codes,
                    prompt=prompt,
                    strength=strength,
                    seed=SEED + len(equal),
                    **WARM,
                )
                equal.append((varied.codes == picture.codes).mean())
                noise.append(psnr(pixels(varied), pixels(picture)))
            cells += [f"{100 * np.mean(equal):.1f} %", f"{np.mean(noise):.1f}"]
        rows.append((strength, *cells))
    print(
        f"### Variations of {len(pictures)} pictures, by new noise (left) and without it: {WARM}\n"
    )
    table(*rows)


def settings_where_a_choice_helps(liquid: Liquid, share: float) -> dict[str, float]:
    """The temperature at which the wanted share of single pictures is right, by bisection."""
    some = scenes(max(10, round(100 * share)), 3)
    prompts = [text for text, _ in some]
    low, high = SHARE_WANTED
    cold, hot = 0.6, 2.6
    while True:
        temperature = round((cold + hot) / 2, 2)
        settings = {"guidance": 1.0, "temperature": temperature, "top_p": 1.0}
        drawn = liquid.generate_images(prompts, seeds=7, **settings)
        right = np.mean([is_right(p, d) for (_, p), d in zip(some, drawn, strict=True)])
        print(f"{settings}: {100 * right:.0f} % right", flush=True)
        if low <= right <= high or hot - cold < 0.1:
            return settings
        cold, hot = (temperature, hot) if right > high else (cold, temperature)


def measure_best(liquid: Liquid, share: float) -> None:
    """Four of each prompt, once; then which of them each judge would have kept."""
    settings = settings_where_a_choice_helps(liquid, share)
    some = scenes(max(10, round(200 * share)), 3)
    prompts, seeds = [text for text, _ in some], [1000 + CANDIDATES * i for i in range(len(some))]
    common: dict[str, Any] = {"seeds": seeds, "best_of": CANDIDATES, **settings}
    every = liquid.generate_images(prompts, keep_all=True, **common)
    pruned = liquid.generate_images(prompts, prune=True, **common)
    kept: dict[str, list[bool]] = {}
    for i, ((_, pairs), seed) in enumerate(zip(some, seeds, strict=True)):
        mine = every[CANDIDATES * i : CANDIDATES * (i + 1)]
        right = {one.settings.seed: is_right(pairs, one) for one in mine}
        said = [(one.settings.seed, one.settings.steered["best_of"]) for one in mine]
        for judge in ("likelihood", "yes", "score"):
            best = max(said, key=lambda pair, judge=judge: pair[1][judge])[0]
            kept.setdefault(judge, []).append(right[best])
        kept.setdefault("both, with pruning", []).append(right[pruned[i].settings.seed])
        kept.setdefault("any of four", []).append(any(right.values()))
        kept.setdefault("one", []).append(right[seed])
    single = float(np.mean(kept.pop("one")))
    print(f"\n### Best of {CANDIDATES}: {len(prompts)} prompts of three things, {settings}\n")
    words = {"yes": "question", "score": "both"}
    rows = [
        (words.get(name, name), f"{100 * np.mean(v):.1f} %", _gone(single, float(np.mean(v))))
        for name, v in kept.items()
    ]
    alone = ("one alone", f"{100 * single:.1f} %", "-")
    table(("kept by", "right", "of the wrong ones gone"), alone, *rows)
    time_best(liquid, prompts[: max(3, round(12 * share))], settings)


def time_best(liquid: Liquid, prompts: Sequence[str], settings: dict[str, float]) -> None:
    """Seconds of a call for one prompt, the four ways in turns."""
    ways: dict[str, dict[str, Any]] = {
        "one": {},
        f"{CANDIDATES}, all kept": {"count": CANDIDATES},
        f"best of {CANDIDATES}": {"best_of": CANDIDATES},
        "with pruning": {"best_of": CANDIDATES, "prune": True},
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for seed, prompt in enumerate(prompts):
        for name, way in ways.items():
            spent, _ = timed(
                lambda prompt=prompt, seed=seed, way=way: liquid.generate_image(
                    prompt, seed=seed, **settings, **way
                )
            )
            seconds[name].append(spent)
    table(
        ("drawing", "s", "times one"),
        *(
            (name, f"{median(v):.3f}", f"{median(v) / median(seconds['one']):.2f}")
            for name, v in seconds.items()
        ),
    )


def _gone(before: float, after: float) -> str:
    return f"{100 * (after - before) / max(1 - before, 1e-9):.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {
        "file": measure_file,
        "masks": measure_masks,
        "vary": measure_vary,
        "best": measure_best,
    }
    names = ("batch", *parts)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(names))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--share", type=float, default=1.0, help="of all, for a quick look")
    options = parser.parse_args()
    wanted = options.parts or names
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    print(f"{options.model}, share {options.share:g}\n{machine()}\n")
    if "batch" in wanted:
        measure_batch(options.share)
    liquid = load(options.model, dtype="float32")
    for part, measure in parts.items():
        if part in wanted:
            measure(liquid, options.share)


if __name__ == "__main__":
    main()
