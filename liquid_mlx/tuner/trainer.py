"""The training loop: a function of settings, data and step, so that it can be taken up anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from liquid_mlx.config import LiquidConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.errors import LiquidError, UsageError
from liquid_mlx.generation.sampling import fold_in
from liquid_mlx.memory import limits
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.tuner.examples import Order
from liquid_mlx.tuner.lora import prepare, set_dropout, trained
from liquid_mlx.tuner.loss import Batch, Example, Loss, collate
from liquid_mlx.tuner.settings import TrainSettings

Tree = Any  # of arrays, as mlx.utils has them
INIT_KEY, DROPOUT_KEY = 0, 1  # what the seed's key is folded with


class DivergedError(LiquidError):
    """The loss is no longer a number."""

    shared = True


@dataclass(frozen=True)
class Step:
    """What came of a step: mean losses in nats, of codes and of text (None: there were none)."""

    step: int
    loss: float
    code_loss: float | None
    text_loss: float | None
    tokens: int
    targets: int
    learning_rate: float
    grad_norm: float


class Trainer:
    """Trains a backbone that is not fused.

    Args:
        group: machines that share the work (``mx.distributed.init()``); None is this one alone.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: LiquidConfig,
        settings: TrainSettings,
        order: Order,
        group: mx.distributed.Group | None = None,
    ):
        self.backbone, self.config, self.settings = backbone, config, settings
        self._order = order
        self.rank, self.machines = (group.rank(), group.size()) if group else (0, 1)
        self._group = group
        if settings.batch_size % self.machines:
            raise UsageError(
                f"A batch of {settings.batch_size} cannot be shared by {self.machines} machines."
            )
        self._key = mx.random.key(settings.seed)
        prepare(backbone, settings.adapter, fold_in(self._key, INIT_KEY))
        self.optimizer = make_optimizer(settings)
        self.optimizer.init(backbone.trainable_parameters())
        self.step = 0  # of the optimizer, done
        self._loss = Loss(
            backbone,
            config,
            trains_head=settings.adapter.embeddings,
            checkpoint=settings.grad_checkpoint,
        )
        self._gradients = self._compiled()

    def _compiled(self) -> Callable[[Tree, Batch, mx.array | None], tuple[mx.array, Tree]]:
        """Losses [2] and gradients of their sum, of parameters and a batch; one graph on a GPU."""

        def gradients(
            parameters: Tree, batch: Batch, key: mx.array | None
        ) -> tuple[mx.array, Tree]:
            def total(parameters: Tree) -> tuple[mx.array, mx.array]:
                self.backbone.update(parameters)
                losses = self._loss(batch)
                return losses.sum(), losses

            set_dropout(self.backbone, key)
            (_, losses), found = mx.value_and_grad(total)(parameters)
            set_dropout(self.backbone, None)
            return losses, found

        # A graph holds frozen weights as constants; MLX's CPU compiler would start a C++ compiler.
        return mx.compile(gradients) if on_gpu() else gradients

    def _batch(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, self.config)

    def run(self, until: int | None = None) -> Iterator[Step]:
        """Train up to this step (None: all of them), yielding each.

        Raises:
            DivergedError: the loss is not finite; the weights are those before that step.
            LowMemoryError: MLX ran out of memory.
        """
        last = self.settings.iters if until is None else min(until, self.settings.iters)
        order = self._order.batches(self.step)
        while self.step < last:
            with limits():
                result = self._one(next(order))
            yield result

    def _one(self, examples: Sequence[Example]) -> Step:
        """A step over its examples, a batch at a time; gradients are summed before divided."""
        size = self.settings.batch_size
        total, sums, targets = None, mx.zeros(2), mx.zeros(2)
        for i in range(0, len(examples), size):
            batch = self._batch(examples[i : i + size][self.rank :: self.machines])
            parameters = self.backbone.trainable_parameters()
            key = self._dropout_key(i // size)
            losses, found = self._gradients(parameters, batch, key)
            self.backbone.update(parameters)  # tracing has put its own in their place
            total = found if total is None else tree_map(mx.add, total, found)
            sums, targets = sums + losses, targets + batch["counts"]
            mx.eval(total, sums, targets)
        sums, targets = self._shared(sums), self._shared(targets)
        if self.machines > 1:
            total = nn.average_gradients(total, self._group)  # many arrays in one exchange
        each = targets.sum() / self.machines
        mean = tree_map(lambda g: g / each, total)
        mean, norm = clipped(mean, self.settings.max_grad_norm)
        loss = float(sums.sum() / targets.sum())
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            raise DivergedError(
                f"The loss is {loss} in step {self.step + 1}: train with a lower --lr. Checkpoints "
                "from before are kept."
            )
        self.optimizer.update(self.backbone, mean)
        mx.eval(self.backbone.trainable_parameters(), self.optimizer.state)
        self.step += 1
        code_loss, text_loss = _means(sums, targets)
        return Step(
            step=self.step,
            loss=loss,
            code_loss=code_loss,
            text_loss=text_loss,
            tokens=sum(len(example) - 1 for example in examples),
            targets=int(targets.sum()),
            learning_rate=float(self.optimizer.learning_rate),
            grad_norm=float(norm),
        )

    def _dropout_key(self, part: int) -> mx.array | None:
        if not self.settings.adapter.dropout:
            return None
        key = fold_in(fold_in(self._key, DROPOUT_KEY), self.step)
        return fold_in(fold_in(key, part), self.rank)

    def _shared(self, array: mx.array) -> mx.array:
        """The sum over all machines."""
        if self.machines == 1:
            return array
        return mx.distributed.all_sum(array, group=self._group)

    def validate(self, examples: Sequence[Example]) -> tuple[float | None, float | None]:
        """Mean losses over examples, of codes and of text (None: there are none)."""
        sums, targets = mx.zeros(2), mx.zeros(2)
        ordered = sorted(examples, key=len)[self.rank :: self.machines]
        size = max(1, self.settings.batch_size // self.machines)
        with limits():
            for i in range(0, len(ordered), size):
                batch = self._batch(ordered[i : i + size])
                sums, targets = sums + self._loss(batch), targets + batch["counts"]
                mx.eval(sums, targets)
        return _means(self._shared(sums), self._shared(targets))

    def state(self) -> dict[str, mx.array]:
        """All that a run goes on from, but for its step: weights and the optimizer's state."""
        optimizer: Any = tree_flatten(self.optimizer.state, destination={})
        return {
            **{f"weights.{name}": array for name, array in trained(self.backbone).items()},
            **{f"optimizer.{name}": array for name, array in optimizer.items()},
        }

    def restore(self, state: dict[str, mx.array], step: int) -> None:
        """Go on from a state; raises ValueError if it is one of another model or run."""
        mine = {name: (array.shape, array.dtype) for name, array in self.state().items()}
        if mine != {name: (array.shape, array.dtype) for name, array in state.items()}:
            raise ValueError("its tensors are others")
        weights: dict[str, mx.array] = {}
        optimizer: dict[str, mx.array] = {}
        for name, array in state.items():
            kind, _, rest = name.partition(".")
            (weights if kind == "weights" else optimizer)[rest] = array
        self.backbone.update(tree_unflatten(list(weights.items())))
        self.optimizer.state = tree_unflatten(list(optimizer.items()))
        mx.eval(self.backbone.trainable_parameters(), self.optimizer.state)
        self.step = step


def _means(sums: mx.array, targets: mx.array) -> tuple[float | None, float | None]:
    """Of codes and of text; None where there are no targets."""
    found = [
        float(sums[kind] / targets[kind]) if float(targets[kind]) else None for kind in range(2)
    ]
    return found[0], found[1]


def make_optimizer(settings: TrainSettings) -> optim.Optimizer:
    """The optimizer with its schedule."""
    rate = schedule(settings)
    decay = settings.weight_decay
    if settings.optimizer == "adamw":
        return optim.AdamW(rate, weight_decay=decay, bias_correction=True)
    if settings.optimizer == "sgd":
        return optim.SGD(rate, momentum=0.9, weight_decay=decay)
    if settings.optimizer == "lion":
        return optim.Lion(rate, weight_decay=decay)
    return optim.Adafactor(
        rate, weight_decay=decay, scale_parameter=False, relative_step=False, warmup_init=False
    )


def schedule(settings: TrainSettings) -> Any:
    """The learning rate by step: up from 0 in the warmup, then as the schedule says."""
    top, warmup = settings.learning_rate, round(settings.warmup * settings.iters)
    rest = max(settings.iters - warmup, 1)
    if settings.schedule == "cosine":
        after: Any = optim.cosine_decay(top, rest)
    elif settings.schedule == "linear":
        after = optim.linear_schedule(top, 0.0, rest)
    else:
        after = optim.linear_schedule(top, top, rest)
    if not warmup:
        return after
    # The first step has a rate above 0, the step behind the warmup the highest.
    up = optim.linear_schedule(top / (warmup + 1), top, warmup)
    return optim.join_schedules([up, after], [warmup])


def clipped(gradients: Tree, most: float) -> tuple[Tree, mx.array]:
    """Gradients of a norm of at most ``most`` (0: as they are), and their norm."""
    leaves: Any = tree_flatten(gradients)
    squares = [mx.square(g.astype(mx.float32)).sum() for _, g in leaves]
    norm = mx.sqrt(mx.stack(squares).sum())
    if not most:
        return gradients, norm
    factor = mx.minimum(most / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * factor, gradients), norm
