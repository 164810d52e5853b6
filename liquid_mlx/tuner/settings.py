"""How a run trains, in one type that is checked in one place and stored with every checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from liquid_mlx.display import brief
from liquid_mlx.errors import UsageError
from liquid_mlx.params import MAX_INTEGER, SEEDS, integer, number
from liquid_mlx.tuner.examples import Recipe
from liquid_mlx.tuner.lora import AdapterSettings
from liquid_mlx.tuner.records import Record, Source

SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "sgd", "lion", "adafactor")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything on which the weights of a run depend, beside model and data.

    Attributes:
        adapter: what is trained.
        recipe: what becomes of pictures with captions.
        iters: steps of the optimizer.
        batch_size: examples at once, of all machines together.
        grad_accum: batches whose gradients make one step.
        learning_rate: its highest value.
        schedule: "cosine" and "linear" fall to 0, "constant" stays.
        warmup: share of the steps in which the rate rises from 0.
        optimizer: "adamw", "sgd", "lion" or "adafactor", of ``mlx.optimizers``.
        weight_decay: of those that have one.
        max_grad_norm: longer gradients are shortened to this; 0 is off.
        grad_checkpoint: compute activations twice instead of keeping them.
        max_seq_length: longer examples are refused.
        seed: of initial weights, order, recipe and dropout.

    Raises:
        SettingsError: a value is out of range.
        UsageError: a name is unknown.
    """

    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    recipe: Recipe = field(default_factory=Recipe)
    iters: int = 1000
    batch_size: int = 4
    grad_accum: int = 1
    learning_rate: float = 2e-5
    schedule: str = "cosine"
    warmup: float = 0.03
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    grad_checkpoint: bool = False
    max_seq_length: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        integer("iters", self.iters, 1, MAX_INTEGER, "use 1 or more")
        integer("batch_size", self.batch_size, 1, 4096, "use 1 to 4096")
        integer("grad_accum", self.grad_accum, 1, 4096, "use 1 to 4096")
        number("learning_rate", self.learning_rate, 1e-9, 10, "use a number such as 2e-5")
        number("warmup", self.warmup, 0, 1, "use 0 to 1")
        number("weight_decay", self.weight_decay, 0, 10, "use 0 to 10")
        number("max_grad_norm", self.max_grad_norm, 0, 1e6, "use 0 (off) or more, such as 1")
        integer("max_seq_length", self.max_seq_length, 16, MAX_INTEGER, "use 16 or more")
        integer("seed", self.seed, 0, SEEDS - 1, f"use 0 to {SEEDS - 1}")
        for name, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if value not in known:
                raise UsageError(f"The {name} is one of {', '.join(known)}, not {brief(value)}.")

    @property
    def examples_per_step(self) -> int:
        return self.batch_size * self.grad_accum

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """The inverse; raises TypeError or LiquidError for what is damaged."""
        own = dict(values)
        own["adapter"] = AdapterSettings(**own["adapter"])
        own["recipe"] = Recipe(**own["recipe"])
        return cls(**own)

    def difference(self, other: TrainSettings) -> str | None:
        """The name of the first setting that differs."""
        for entry in fields(self):
            one, another = getattr(self, entry.name), getattr(other, entry.name)
            if one != another:
                inner = [
                    part.name
                    for part in (fields(one) if entry.name in ("adapter", "recipe") else ())
                    if getattr(one, part.name) != getattr(another, part.name)
                ]
                return inner[0] if inner else entry.name
        return None


def data_digest(sources: Sequence[Source]) -> str:
    """A few characters that change with the data: every text, code and share, in order."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.share}\n".encode())
        for records in (source.records, source.held_out):
            digest.update(f"{len(records)}\n".encode())
            for record in records:
                _add(digest, record)
    return digest.hexdigest()[:16]


def _add(digest: Any, record: Record) -> None:
    digest.update(repr((record.text, str(record.size), list(record.messages))).encode())
    for picture in (record.picture, *record.shown.values()):
        if picture is not None and picture.codes is not None:
            digest.update(picture.codes.tobytes())
