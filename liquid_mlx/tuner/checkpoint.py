"""What a run leaves on disk: an adapter that opens everywhere, and the state to go on from.

Every file appears whole or not at all, the state in one file, so that whenever a run is killed
the folder holds a usable adapter and a state of one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx._version import __version__
from liquid_mlx.adapters import CONFIG, WEIGHTS
from liquid_mlx.errors import CheckpointError, FileError, LiquidError
from liquid_mlx.files import atomic_file, atomic_write, read_header
from liquid_mlx.hub import is_repo_id
from liquid_mlx.params import MAX_INTEGER
from liquid_mlx.tuner.lora import adapter_config, trained
from liquid_mlx.tuner.settings import TrainSettings
from liquid_mlx.tuner.trainer import Trainer

STATE, LOG, CURVE, CARD = "checkpoint.safetensors", "log.jsonl", "loss.png", "README.md"


@dataclass(frozen=True)
class Run:
    """What a run is about, as it is written beside its weights: the model's name, and the data's
    digest (`data_digest`)."""

    model: str
    settings: TrainSettings
    data: str


def save(folder: Path, trainer: Trainer, run: Run, keep: bool = False) -> None:
    """Write the adapter and the state of this step.

    Args:
        keep: also keep the adapter under a name with its step, as mlx-lm does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = trained(trainer.backbone)
    names = [WEIGHTS, *([f"{trainer.step:07d}_{WEIGHTS}"] if keep else [])]
    config = {
        **adapter_config(run.settings.adapter, trainer.backbone),
        "model": run.model,
        "liquid": {"version": __version__, "step": trainer.step, "train": run.settings.to_dict()},
    }
    state = {"step": trainer.step, "model": run.model, "data": run.data}
    metadata = {**state, "settings": run.settings.to_dict()}
    _save(folder / STATE, trainer.state(), {"liquid": json.dumps(metadata)})
    # The weights last: where they are, all that they need is there.
    atomic_write(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    atomic_write(folder / CARD, card(folder.name, run))
    for name in names:
        _save(folder / name, weights, {"format": "mlx"})


def card(name: str, run: Run) -> str:
    """The model card of an adapter: what it is for, and how it was trained."""
    settings, base = run.settings, " ".join(run.model.split())
    adapter = settings.adapter
    kind = "all weights" if adapter.kind == "full" else f"{adapter.kind}, rank {adapter.rank}"
    head = [
        "---",
        "library_name: mlx",
        *([f"base_model: {base}", "base_model_relation: adapter"] if is_repo_id(base) else []),
        "tags:",
        *(f"- {tag}" for tag in ("mlx", "liquid", "text-to-image", "lora")),
        "---",
    ]
    body = [
        f"# {name}",
        "",
        f"An adapter ({kind}) of {base} for liquid-mlx: up to {settings.iters} steps of "
        f"{settings.examples_per_step} examples, learning rate {settings.learning_rate:g}.",
        "",
        "```sh",
        f'liquid generate "..." --model {base} --adapter {name}',
        "```",
        "",
        "It stays under the licence of the model that it was trained for.",
    ]
    return "\n".join([*head, *body]) + "\n"


def _save(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    with atomic_file(path) as tmp, tmp.open("wb") as file:
        mx.save_safetensors(file, dict(arrays), dict(metadata))


@dataclass(frozen=True)
class Saved:
    """A state read again."""

    run: Run
    step: int
    arrays: dict[str, mx.array]


def read(folder: Path) -> Saved:
    """The state in a run's folder.

    Raises:
        FileError: there is none.
        CheckpointError: it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise FileError(f"{folder} has no {STATE} to resume from: start without --resume.")
    read_header(path)
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
        arrays, metadata = loaded
        mx.eval(arrays)
        values: Any = json.loads(metadata["liquid"])
        step = values["step"]
        if type(step) is not int or not 0 <= step <= MAX_INTEGER:
            raise ValueError("its step is no number of a step")
        settings = TrainSettings.from_dict(values["settings"])
        run = Run(str(values["model"]), settings, str(values["data"]))
    except (LiquidError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({str(error)[:100]}): start anew, without --resume."
        ) from None
    return Saved(run, step, arrays)


def resume(trainer: Trainer, saved: Saved, run: Run, folder: Path) -> None:
    """Put a trainer where the state's run was; raises CheckpointError if it is of another run."""
    if saved.run.data != run.data:
        raise CheckpointError(
            f"The data have changed since {folder / STATE} was written: start anew, without "
            "--resume, or give the same data."
        )
    if different := saved.run.settings.difference(run.settings):
        raise CheckpointError(
            f"{folder / STATE} was trained with another {different}: give the same options, or "
            "start anew, without --resume."
        )
    try:
        trainer.restore(saved.arrays, saved.step)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / STATE} is of another model ({error}): start anew, without --resume."
        ) from None
