"""Measure a converted model through liquid_mlx, on captions and pictures that training never saw.

    python -m training.evaluate MODEL results.json --sheet sheet.png

Pictures are judged by `training.judge`, which looks at pixels only.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import liquid_mlx
from training import language
from training.judge import read, verdict
from training.scenes import PAIRS, held_out_scene, random_scene, unseen_pair_scene
from training.world import COLOURS, SHAPES, Scene, render

SEED = 2024
PER_KIND = {
    "one object": (held_out_scene, 1, False, 250),
    "two objects": (held_out_scene, 2, False, 250),
    "three objects": (held_out_scene, 3, False, 100),
    "unseen pairs, one object": (unseen_pair_scene, 1, False, 100),
    "unseen pairs, two objects": (unseen_pair_scene, 2, False, 100),
    "96x64, one or two objects": (held_out_scene, None, True, 60),
}
GUIDANCES = (1.0, 2.0, 3.0, 5.0, 7.0)


def prompts(kind: str, number: int) -> list[tuple[Scene, str]]:
    """Scenes with captions that state everything."""
    make, count, wide, _ = PER_KIND[kind]
    rng = random.Random(f"{SEED} {kind}")
    found = []
    for i in range(number):
        scene = make(rng, count=count or 1 + i % 2, wide=wide)
        found.append((scene, language.caption(scene, rng, brief=0.0)))
    return found


def drawn(liquid, scene: Scene, caption: str, seed: int, **settings) -> np.ndarray:
    size = {"width": scene.width, "height": scene.height} if scene.columns != 8 else {}
    picture = liquid.generate_image(caption, seed=seed, **size, **settings)[0]
    return np.asarray(picture.image.convert("RGB"))


def measure_drawing(liquid, kind: str, number: int, **settings) -> dict[str, float]:
    """The share of pictures with each fact right, and of colours and shapes by name."""
    facts, named = defaultdict(list), defaultdict(list)
    for seed, (scene, caption) in enumerate(prompts(kind, number)):
        picture = drawn(liquid, scene, caption, seed, **settings)
        for fact, right in verdict(scene, picture).items():
            facts[fact].append(right)
        seen = read(picture).things
        for thing in scene.things:
            named[thing.colour].append(any(s.colour == thing.colour for s in seen))
            named[thing.shape].append(any(s.shape == thing.shape for s in seen))
    shares = {fact: float(np.mean(right)) for fact, right in facts.items()}
    shares["pictures"] = number
    shares["by name"] = {
        name: float(np.mean(named[name])) for name in (*COLOURS, *SHAPES) if name in named
    }
    return shares


def measure_at_guidance(liquid, kind: str, number: int, guidance: float) -> float:
    """The share of pictures that are all right, at the other recommended settings."""
    return measure_drawing(liquid, kind, number, guidance=guidance)["all"]


def measure_answers(liquid, kind: str, number: int) -> float:
    """The share of exact answers to one kind of question, on held-out scenes of 1 to 3 things."""
    rng = random.Random(f"{SEED} {kind}")
    right = []
    while len(right) < number:
        scene = held_out_scene(rng, count=rng.choice((1, 2, 3)))
        asked = language.question(scene, rng, kind)
        if asked is None:
            continue
        answer = liquid.answer(Image.fromarray(render(scene)), asked[0], max_tokens=12)
        right.append(answer.strip() == asked[1])
    return float(np.mean(right))


def measure_captions(liquid, number: int) -> float:
    """The share of captions that state every fact of the picture, and all of them rightly."""
    rng = random.Random(f"{SEED} captions")
    right = []
    for _ in range(number):
        scene = held_out_scene(rng, count=rng.choice((1, 2, 3)))
        written = liquid.caption(Image.fromarray(render(scene)), max_tokens=48)
        right.append(written.strip() == language.plain_caption(scene))
    return float(np.mean(right))


def measure_vqgan(liquid, number: int) -> dict[str, float]:
    """Reconstruction: decibels, what the judge still reads, and how certain a code is."""
    rng = random.Random(f"{SEED} vqgan")
    decibels, right = [], []
    seen: dict[bytes, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for i in range(number):
        scene = random_scene(rng, count=i % 4, pairs=PAIRS)
        true = render(scene)
        codes = liquid.encode(Image.fromarray(true))
        again = np.asarray(liquid.decode(codes).convert("RGB"))
        error = np.square(again.astype(np.float64) - true).mean()
        decibels.append(10 * np.log10(255**2 / max(error, 1e-3)))
        right.append(verdict(scene, again)["all"])
        for row in range(codes.shape[0]):
            for column in range(codes.shape[1]):
                cell = true[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].tobytes()
                seen[cell][int(codes[row, column])] += 1
    counts = [np.array(list(codes.values()), dtype=float) for codes in seen.values()]
    total = sum(c.sum() for c in counts)
    entropy = sum((c * np.log(c.sum() / c)).sum() for c in counts) / total
    return {
        "pictures": number,
        "psnr mean": float(np.mean(decibels)),
        "psnr least": float(np.min(decibels)),
        "read rightly": float(np.mean(right)),
        "code entropy given its pixels, nats": float(entropy),
    }


def draw_sheet(liquid, path: Path, scale: int = 2) -> None:
    """Pictures of prompts that training never saw, with the prompts below them."""
    kinds = ("one object", "two objects", "unseen pairs, one object", "three objects")
    tiles = []
    for kind in kinds:
        for seed, (scene, caption) in enumerate(prompts(kind, 6)):
            picture = Image.fromarray(drawn(liquid, scene, caption, seed))
            tiles.append((picture.resize((64 * scale, 64 * scale), Image.NEAREST), caption))
    width, height = 64 * scale + 22, 64 * scale + 56
    sheet = Image.new("RGB", (6 * width, len(kinds) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(tiles):
        x, y = number % 6 * width + 11, number // 6 * height + 8
        sheet.paste(picture, (x, y))
        lines, line = [], ""
        for word in caption.split():
            if len(line) + len(word) > 24:
                lines, line = [*lines, line], ""
            line = f"{line} {word}".strip()
        draw.multiline_text((x, y + 64 * scale + 2), "\n".join([*lines, line]), "black", spacing=1)
    sheet.save(path, optimize=True)


def tasks(share: float) -> dict[str, tuple]:
    """What is measured: name -> function and arguments behind the model."""

    def many(number: int) -> int:
        return max(8, round(number * share))

    found = {kind: (measure_drawing, kind, many(PER_KIND[kind][3])) for kind in PER_KIND}
    found |= {f"answers, {kind}": (measure_answers, kind, many(100)) for kind in language.QUESTIONS}
    found |= {"captions": (measure_captions, many(100)), "vqgan": (measure_vqgan, many(200))}
    for guidance in GUIDANCES:
        for kind in ("one object", "two objects"):
            name = f"guidance {guidance:g}, {kind}"
            found[name] = (measure_at_guidance, kind, many(60), guidance)
    return found


def _load(model: str) -> None:
    global _liquid
    _liquid = liquid_mlx.load(model)


def _measure(name: str, share: float):
    measure, *arguments = tasks(share)[name]
    return measure(_liquid, *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("results", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of pictures")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    started, results = time.time(), {}
    with ProcessPoolExecutor(
        options.processes, get_context("spawn"), initializer=_load, initargs=(options.model,)
    ) as pool:
        running = {
            pool.submit(_measure, name, options.share): name for name in tasks(options.share)
        }
        for future in as_completed(running):
            results[running[future]] = future.result()
            options.results.write_text(json.dumps(results, indent=1) + "\n")
            figures = json.dumps(future.result())
            print(f"{time.time() - started:.0f} s {running[future]}: {figures}", flush=True)
    if options.sheet:
        draw_sheet(liquid_mlx.load(options.model), options.sheet)


if __name__ == "__main__":
    main()
