"""A small model, records, and trainers of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from liquid_mlx.config import LiquidConfig
from liquid_mlx.prompts import Prompts
from liquid_mlx.tuner.examples import Examples, Order
from liquid_mlx.tuner.lora import AdapterSettings
from liquid_mlx.tuner.records import Picture, Record, Source
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import Trainer
from liquid_mlx.weights import load_backbone

TINY = "llama_tiny"


@pytest.fixture
def tiny(converted: Callable[..., Path]) -> Path:
    """The folder of a model so small that a step takes milliseconds."""
    return converted(TINY)


def records(config: LiquidConfig, count: int = 6) -> list[Record]:
    """Drawings, conversations and texts in turn."""
    rng = np.random.default_rng(0)
    grid = config.grid(config.sizes[0])
    found = []
    for i in range(count):
        codes = rng.integers(0, config.vqgan.n_embed, grid).astype(np.int32)
        talk = [
            {"role": "user", "content": f"question {i}"},
            {"role": "assistant", "content": f"answer {i}"},
        ]
        found += [
            Record(f"picture {i}", f"picture number {i}", Picture(codes=codes)),
            Record(f"talk {i}", messages=talk, shown={0: Picture(codes=codes)} if i % 2 else {}),
            Record(f"text {i}", f"some words, {i}"),
        ]
    return found


def settings(**values: object) -> TrainSettings:
    """Few steps at a rate that shows."""
    own = {"iters": 6, "batch_size": 2, "learning_rate": 1e-2, "warmup": 0.2, **values}
    return TrainSettings(**own)


def trainer(
    folder: Path,
    run: TrainSettings | None = None,
    sources: list[Source] | None = None,
    group: mx.distributed.Group | None = None,
) -> Trainer:
    """A new trainer of a converted folder."""
    run = run or settings()
    config = LiquidConfig.read(folder)
    examples = Examples(Prompts.read(folder, config), config, run.recipe, run.max_seq_length)
    sources = sources or [Source("all", 1.0, records(config))]
    order = Order(examples, sources, run.examples_per_step, run.seed)
    backbone = load_backbone(folder, config, "float32", fuse=False)
    return Trainer(backbone, config, run, order, group)


def lora(**values: object) -> TrainSettings:
    """Settings with another adapter."""
    return settings(adapter=AdapterSettings(**values))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(6):
        picture = Image.new("RGB", (40, 40), (40 * i, 80, 200 - 30 * i))
        ImageDraw.Draw(picture).ellipse([8, 8, 12 + 4 * i, 12 + 4 * i], fill="white")
        picture.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a disc of size {i}\n")
    return folder


def lines(path: Path, *rows: object) -> Path:
    """A JSONL; texts are written as they are."""
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def same(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    """Whether two sets of arrays are equal to the bit."""
    return one.keys() == other.keys() and all(
        np.array_equal(np.array(one[name]), np.array(other[name])) for name in one
    )
