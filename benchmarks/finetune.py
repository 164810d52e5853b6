"""What fine-tuning costs and gives: ``python -m benchmarks.finetune memory | speed | teach``.

``memory``  a step's peak against the prediction of `liquid_mlx.tuner.memory`, on random weights of
            several shapes, ``mid`` among them (``--mid``), with and without gradient checkpointing.
``speed``   tokens a second beside mlx-lm's trainer: a Llama-shaped folder of random weights, the
            same sequences, batch, rank and layers; every token is a target in both.
``teach``   the bundled model learns a shape, a colour's name and a kind of question that it does
            not know, from 40 pictures and 30 questions; what it knew before is asked again.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from PIL import Image

import liquid_mlx
from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.generation.sampling import fold_in
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.tuner.lora import AdapterSettings
from liquid_mlx.tuner.loss import Example
from liquid_mlx.tuner.memory import step_bytes
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import Trainer

VQ = VQGANConfig(32, (1, 1, 2, 4), 1, (), 64, 32, 32, 512)


def random_model(
    kind: str, hidden: int, inner: int, layers: int, heads: int, width: int, text: int, codes: int
) -> tuple[LiquidConfig, Backbone]:
    """A model of random weights in float32."""
    shape = BackboneConfig(
        kind, text + codes, hidden, inner, layers, heads, heads, width, tie_word_embeddings=True
    )
    vqgan = VQGANConfig(**{**VQ.__dict__, "n_embed": codes})
    config = LiquidConfig(
        shape, vqgan, text, {"boi": 7, "eoi": 8, "unconditional": 9}, (Size(64, 64),), (1,)
    )
    backbone = Backbone(shape)
    key = mx.random.key(0)
    backbone.update(
        tree_map(lambda a: 0.02 * mx.random.normal(a.shape, key=fold_in(key, a.size)),
                 backbone.parameters())
    )  # fmt: skip
    mx.eval(backbone.parameters())
    return config, backbone


class Sequences:
    """Batches of random examples: a prompt of text, then codes."""

    def __init__(self, config: LiquidConfig, batch_size: int, length: int, prompt: int = 40):
        self._config, self._batch_size = config, batch_size
        self._length, self._prompt = length, prompt

    def batches(self, step: int = 0) -> Iterator[list[Example]]:
        rng = np.random.default_rng(step)
        start = self._config.image_offset
        stop = start + self._config.vqgan.n_embed
        while True:
            yield [
                Example(
                    np.concatenate(
                        [
                            rng.integers(0, start, self._prompt),
                            rng.integers(start, stop, self._length + 1 - self._prompt),
                        ]
                    ).astype(np.int32),
                    np.arange(self._length + 1) >= self._prompt,
                )
                for _ in range(self._batch_size)
            ]


def memory_row(
    name: str,
    shape: tuple[Any, ...],
    batch_size: int,
    length: int,
    checkpoint: bool,
    **adapter: Any,
) -> dict[str, Any]:
    """Predicted and measured bytes of a step, the second, when the optimizer's state is there."""
    gc.collect()
    others = mx.get_active_memory()  # of whatever this process has loaded before
    config, backbone = random_model(*shape)
    settings = TrainSettings(
        batch_size=batch_size,
        grad_checkpoint=checkpoint,
        adapter=AdapterSettings(**{"layers": -1, **adapter}),
    )
    predicted = step_bytes(config, backbone, 0, settings, length + 1)
    order: Any = Sequences(config, batch_size, length)
    trainer = Trainer(backbone, config, settings, order)
    list(trainer.run(1))
    gc.collect()
    mx.clear_cache()
    gc.disable()
    mx.reset_peak_memory()
    list(trainer.run(2))
    peak = mx.get_peak_memory() - others
    gc.enable()
    return {
        "model": name,
        "checkpoint": checkpoint,
        "batch": batch_size,
        "length": length,
        **adapter,
        "predicted_mb": round(predicted.total / 1e6, 1),
        "measured_mb": round(peak / 1e6, 1),
        "ratio": round(predicted.total / peak, 3),
        "parts": {name: round(size / 1e6, 1) for name, size in predicted.parts().items()},
    }


SMALL = ("gemma", 128, 352, 4, 4, 32, 640, 512)
SHAPES = {
    "small": SMALL,
    "deep": ("gemma", 128, 352, 8, 4, 32, 640, 512),
    "inner": ("gemma", 128, 704, 4, 4, 32, 640, 512),
    "wide": ("gemma", 256, 352, 4, 4, 32, 640, 512),
    "heads": ("gemma", 128, 352, 4, 8, 32, 640, 512),
    "codes": ("gemma", 128, 352, 4, 4, 32, 640, 4096),
    "llama": ("llama", 128, 352, 4, 4, 32, 640, 512),
}
MID = ("gemma", 1024, 2816, 12, 8, 128, 256000, 8192)


def memory(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if arguments.mid:
        for checkpoint in (False, True):
            yield memory_row("mid", MID, 1, 256, checkpoint)
        return
    for name, shape in SHAPES.items():
        for checkpoint in (False, True):
            yield memory_row(name, shape, 2, 128, checkpoint)
    for checkpoint in (False, True):
        yield memory_row("small", SMALL, 1, 256, checkpoint)
    yield memory_row("small", SMALL, 2, 128, False, kind="dora")
    yield memory_row("small", SMALL, 2, 128, False, embeddings=True)
    yield memory_row("small", SMALL, 2, 128, False, kind="full", embeddings=True)


def speed(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Ours, theirs, ours, theirs: seconds of a step after the first two."""
    import mlx.nn as nn
    import mlx.optimizers as optim
    from mlx_lm.models.llama import Model, ModelArgs
    from mlx_lm.tuner.trainer import default_loss
    from mlx_lm.tuner.utils import linear_to_lora_layers

    shape = ("llama", 512, 1408, 6, 8, 64, 2000, 48)
    length, batch_size, steps = 256, 4, arguments.steps
    config, backbone = random_model(*shape)
    adapter = AdapterSettings(layers=-1, rank=8)
    settings = TrainSettings(batch_size=batch_size, adapter=adapter, iters=10**6)
    text: Any = Sequences(config, batch_size, length, prompt=length)
    text.batches = lambda step=0: (
        [Example(e.ids % 2000, np.arange(length + 1) > 0) for e in batch]
        for batch in Sequences(config, batch_size, length, length).batches(step)
    )
    trainer = Trainer(backbone, config, settings, text)

    theirs = Model(
        ModelArgs(
            model_type="llama", hidden_size=512, num_hidden_layers=6, intermediate_size=1408,
            num_attention_heads=8, rms_norm_eps=1e-6, vocab_size=2048, head_dim=64,
            tie_word_embeddings=True,
        )
    )  # fmt: skip
    theirs.freeze()
    linear_to_lora_layers(theirs, 6, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    theirs.train()
    optimizer = optim.AdamW(2e-5)
    loss = nn.value_and_grad(theirs, default_loss)
    batches = text.batches(0)

    def their_step() -> None:
        batch = mx.array(np.stack([example.ids for example in next(batches)]))
        lengths = mx.array([[0, length]] * batch_size)
        (value, _), gradients = loss(theirs, batch, lengths)
        optimizer.update(theirs, gradients)
        mx.eval(value, theirs.state, optimizer.state)

    def our_step() -> None:
        next(trainer.run())

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for i in range(steps + 2):
        for name, step in (("ours", our_step), ("theirs", their_step)):
            start = time.perf_counter()
            step()
            if i >= 2:
                times[name].append(time.perf_counter() - start)
    rates = {name: batch_size * length / float(np.median(t)) for name, t in times.items()}
    yield {**{k: round(v) for k, v in rates.items()}, "ratio": rates["ours"] / rates["theirs"]}


# What is taught. A blick is three squares in an L; zorn is a name for what was purple; whether
# something is warm or cold follows from its colour.
WARM = ("red", "orange", "yellow", "pink")
QUESTION = "is it warm or cold?"


def blick(colour: str, x: int, y: int) -> Any:
    from training.world import Scene, Thing

    corners = ((0, 0), (0, 2), (2, 2))
    return Scene(tuple(Thing("square", colour, "small", x + dx, y + dy) for dx, dy in corners))


def is_blick(picture: np.ndarray, colour: str) -> bool:
    """Three squares of this colour and nothing else, in an L."""
    from training.judge import read
    from training.world import CELL

    things = read(picture).things
    if [thing.pair for thing in things] != [(colour, "square")] * 3:
        return False
    x, y = min(t.x for t in things), min(t.y for t in things)
    cells = {(round((t.x - x) / CELL / 2), round((t.y - y) / CELL / 2)) for t in things}
    return cells == {(0, 0), (0, 1), (1, 1)}


def is_thing(picture: np.ndarray, colour: str, shape: str) -> bool:
    from training.judge import read

    return [thing.pair for thing in read(picture).things] == [(colour, shape)]


def lessons(folder: Path, rng: random.Random) -> list[str]:
    """The data of the lesson: a folder of 40 pictures with captions, and 30 questions."""
    from training.world import COLOURS, SHAPES, Scene, Thing, render

    pictures, asked = folder / "pictures", folder / "asked"
    pictures.mkdir()
    asked.mkdir()

    def write(path: Path, scene: Any, text: str = "") -> None:
        Image.fromarray(render(scene)).save(path)
        if text:
            path.with_suffix(".txt").write_text(text)

    colours = [c for c in COLOURS if c != "purple"]
    for i in range(20):
        colour = colours[i % len(colours)]
        scene = blick(colour, rng.randrange(1, 4), rng.randrange(1, 4))
        write(pictures / f"blick-{i}.png", scene, f"a {colour} blick")
        shape = SHAPES[i % len(SHAPES)]
        thing = Thing(shape, "purple", "large", rng.randrange(2, 4), rng.randrange(2, 4))
        write(pictures / f"zorn-{i}.png", Scene((thing,)), f"a zorn {shape}")
    rows = []
    for i in range(30):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        thing = Thing(shape, colour, "large", rng.randrange(1, 5), rng.randrange(1, 5))
        write(asked / f"{i}.png", Scene((thing,)))
        answer = "warm" if colour in WARM else "cold"
        turns = [
            {"from": "human", "value": f"<image>\n{QUESTION}"},
            {"from": "gpt", "value": answer},
        ]
        rows.append({"image": f"{i}.png", "conversations": turns})
    (asked / "questions.json").write_text(json.dumps(rows))
    return [str(pictures), f"{asked / 'questions.json'}:2"]


def rehearsal(liquid: Any, folder: Path, count: int, rng: random.Random) -> str:
    """Pictures that the model draws itself of what it knows, so that it keeps knowing it."""
    from training.world import COLOURS, SHAPES

    folder.mkdir()
    prompts = [f"a {rng.choice(list(COLOURS))} {rng.choice(SHAPES)}" for _ in range(count)]
    for i, picture in enumerate(liquid.generate_images(prompts, seeds=1000)):
        picture.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(prompts[i])
    return str(folder)


def examined(liquid: Any, count: int, folder: Path) -> dict[str, float]:
    """Shares that are right, of what is new and of what was known."""
    from training.world import COLOURS, SHAPES, Scene, Thing, render

    rng = random.Random(99)
    colours = [c for c in COLOURS if c != "purple"]

    def share(prompts: list[str], judge: Any) -> float:
        drawn = liquid.generate_images(prompts, seeds=5)
        right = [
            judge(np.asarray(d.image), *p.split()[1:]) for d, p in zip(drawn, prompts, strict=True)
        ]
        return sum(right) / len(right)

    known = [f"a {rng.choice(list(COLOURS))} {rng.choice(SHAPES)}" for _ in range(3 * count)]
    found = {
        "blick": share([f"a {rng.choice(colours)} blick" for _ in range(count)],
                       lambda pixels, colour, _: is_blick(pixels, colour)),
        "zorn": share([f"a zorn {rng.choice(SHAPES)}" for _ in range(count)],
                      lambda pixels, _, shape: is_thing(pixels, "purple", shape)),
        "known": share(known, is_thing),
    }  # fmt: skip
    right = {"warm or cold": 0, "known questions": 0}
    for i in range(count):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        scene = Scene((Thing(shape, colour, "large", rng.randrange(1, 5), rng.randrange(1, 5)),))
        path = folder / f"test-{i}.png"
        Image.fromarray(render(scene)).save(path)
        said = liquid.answer(path, QUESTION, max_tokens=8).strip(" .").lower()
        right["warm or cold"] += said == ("warm" if colour in WARM else "cold")
        said = liquid.answer(path, "what colour is it?", max_tokens=12).lower()
        right["known questions"] += colour in said
    return {**found, **{name: number / count for name, number in right.items()}}


def teach(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from liquid_mlx.tuner.examples import Recipe
    from liquid_mlx.tuner.session import Options, Session

    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        base = liquid_mlx.load(arguments.model)
        yield {"when": "before", **examined(base, arguments.count, work)}
        rng = random.Random(0)
        data = [*lessons(work, rng), rehearsal(base, work / "rehearsal", arguments.rehearse, rng)]
        settings = TrainSettings(
            iters=arguments.iters,
            batch_size=8,
            learning_rate=arguments.lr,
            adapter=AdapterSettings(rank=16, layers=-1, scale=10),
            recipe=Recipe(instructions=2),
        )
        options = Options(
            model=arguments.model,
            data=data,
            output=arguments.output,
            settings=settings,
            val_split=0,
            preview=["a red blick", "a zorn star", "a green circle"],
            preview_every=arguments.iters // 8,
            cache=work / "cache",
        )
        start = time.perf_counter()
        for _ in Session(options).run():
            pass
        seconds = time.perf_counter() - start
        tuned = liquid_mlx.load(arguments.model, adapter=arguments.output)
        yield {
            "when": "after",
            "minutes": round(seconds / 60, 2),
            **examined(tuned, arguments.count, work),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["memory", "speed", "teach"])
    parser.add_argument("--mid", action="store_true", help="memory: the official vocabulary")
    parser.add_argument("--steps", type=int, default=5, help="speed: steps of each")
    parser.add_argument("--model", default="demo", help="teach: the model")
    parser.add_argument("--iters", type=int, default=400, help="teach: steps")
    parser.add_argument("--lr", type=float, default=1e-3, help="teach: learning rate")
    parser.add_argument("--count", type=int, default=20, help="teach: prompts of each kind")
    parser.add_argument("--rehearse", type=int, default=80, help="teach: pictures of its own")
    parser.add_argument("--output", type=Path, default=Path("taught"), help="teach: the adapter")
    arguments = parser.parse_args()
    run = {"memory": memory, "speed": speed, "teach": teach}[arguments.what]
    for row in run(arguments):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
