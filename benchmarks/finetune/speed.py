"""Tokens a second in training beside mlx-lm's trainer: the same shape, sequences, batch and rank.

Both are the trainers as they come: `liquid_mlx.tuner.trainer.Trainer` and ``mlx_lm.tuner.train``,
which compiles its step. Every token is a target in both. They run in turns; the first steps of a
turn, in which buffers are made and kernels compiled, do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.finetune.memory import random_model
from liquid_mlx.tuner.lora import AdapterSettings
from liquid_mlx.tuner.loss import Example
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import Trainer

TEXT, CODES = 2000, 48  # ids
HIDDEN, INNER, HEADS, WIDTH = 512, 1408, 8, 64
LENGTH, BATCH_SIZE, RANK, WARM_UP = 256, 4, 8, 2


def sequences(count: int = 64) -> np.ndarray:
    """Random text ids, int32 [count, 257]."""
    return np.random.default_rng(0).integers(0, TEXT, (count, LENGTH + 1)).astype(np.int32)


class Batches:
    """The sequences in order, as our trainer takes them."""

    def batches(self, step: int = 0) -> Iterator[list[Example]]:
        target = np.arange(LENGTH + 1) > 0
        rows = itertools.cycle(Example(ids, target) for ids in sequences())
        while True:
            yield list(itertools.islice(rows, BATCH_SIZE))


def our_trainer(layers: int) -> Trainer:
    shape = ("llama", HIDDEN, INNER, layers, HEADS, WIDTH, TEXT, CODES)
    config, backbone = random_model(*shape)
    settings = TrainSettings(
        batch_size=BATCH_SIZE, adapter=AdapterSettings(layers=-1, rank=RANK), iters=10**6
    )
    order: Any = Batches()
    return Trainer(backbone, config, settings, order)


def our_seconds(trainer: Trainer, steps: int) -> Iterator[float]:
    run = trainer.run()
    for _ in range(steps):
        started = time.perf_counter()
        next(run)
        yield time.perf_counter() - started


def their_model(layers: int) -> Any:
    from mlx_lm.models.llama import Model, ModelArgs
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = Model(
        ModelArgs(
            model_type="llama", hidden_size=HIDDEN, num_hidden_layers=layers,
            intermediate_size=INNER, num_attention_heads=HEADS, rms_norm_eps=1e-6,
            vocab_size=TEXT + CODES, head_dim=WIDTH, tie_word_embeddings=True,
        )
    )  # fmt: skip
    model.freeze()
    linear_to_lora_layers(model, layers, {"rank": RANK, "scale": 20.0, "dropout": 0.0})
    return model


def their_seconds(model: Any, steps: int) -> list[float]:
    import mlx.optimizers as optim
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.tuner.trainer import TrainingArgs, train

    found = []

    class Times(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, float]) -> None:
            found.append(1 / train_info["iterations_per_second"])

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        settings = TrainingArgs(
            batch_size=BATCH_SIZE,
            iters=steps,
            steps_per_report=1,
            max_seq_length=LENGTH + 1,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )
        data = [(row.tolist(), 0) for row in sequences()]
        train(model, optim.AdamW(2e-5), data, args=settings, training_callback=Times())
    return found


def speed(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ours, theirs = our_trainer(arguments.layers), their_model(arguments.layers)
    times: dict[str, list[float]] = {"ours": [], "mlx-lm": []}
    processor = dict.fromkeys(times, 0.0)
    for _ in range(arguments.rounds):
        for name, run in (
            ("ours", lambda: list(our_seconds(ours, WARM_UP + arguments.steps))),
            ("mlx-lm", lambda: their_seconds(theirs, WARM_UP + arguments.steps)),
        ):
            started = time.process_time()
            times[name] += run()[WARM_UP:]
            processor[name] += time.process_time() - started
    rates = {name: BATCH_SIZE * LENGTH / float(np.median(t)) for name, t in times.items()}
    yield {
        **{f"{name}, tokens/s": round(rate) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / rates["mlx-lm"], 3),
        "steps": len(times["ours"]),
        "CPU seconds": {name: round(seconds, 1) for name, seconds in processor.items()},
    }
