"""A fine-tuning run from its data to its folder: everything checked first, then step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from liquid_mlx import memory
from liquid_mlx.adapters import WEIGHTS
from liquid_mlx.config import LiquidConfig
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import FileError, LiquidError, UsageError
from liquid_mlx.files import atomic_write, user_path
from liquid_mlx.hub import resolve
from liquid_mlx.model import Liquid
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.prompts import Prompts
from liquid_mlx.tuner import checkpoint, report
from liquid_mlx.tuner.checkpoint import CURVE, LOG, Run
from liquid_mlx.tuner.encode import Encoder, encode_all
from liquid_mlx.tuner.examples import Examples, Order, hold_out
from liquid_mlx.tuner.loss import Example
from liquid_mlx.tuner.memory import Need, fit_memory
from liquid_mlx.tuner.records import Problem, Record, Source, read_source
from liquid_mlx.tuner.settings import TrainSettings, data_digest
from liquid_mlx.tuner.trainer import Step, Trainer
from liquid_mlx.weights import load_backbone, load_vqgan

PREVIEWS, STRIP = "previews", "previews.png"
Tell = Callable[[str, int, int], None]


class DataError(LiquidError):
    """Training data with ``problems``, each with its file and line."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = list(problems)
        many = len(self.problems)
        more = f" ({many} problems in all)" if many > 1 else ""
        super().__init__(f"{self.problems[0]}{more}: nothing was trained.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is trained on, and what is written on the way.

    Attributes:
        model: what ``load`` takes.
        data: folders and files, with ``:SHARE`` behind them.
        output: the adapter's folder.
        epochs: instead of ``settings.iters``: how often all data are seen.
        captions: write the .txt that pictures lack with the model itself.
        val_split: share of each source that is kept for validation.
        eval_every, save_every, preview_every: steps; 0 is never (a checkpoint is written at the
            end in any case).
        preview: prompts that are drawn on the way.
        grad_checkpoint: None is only if the step does not fit memory without.
        split: work a step off in smaller batches where memory needs it.
        resume: go on from the folder's state.
    """

    model: str
    data: Sequence[str]
    output: Path
    settings: TrainSettings
    epochs: float | None = None
    image_folder: Path | None = None
    captions: bool = False
    val_split: float = 0.1
    eval_every: int = 100
    save_every: int = 100
    preview_every: int = 100
    preview: Sequence[str] = ()
    grad_checkpoint: bool | None = None
    split: bool = False
    resume: bool = False
    dtype: str | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Validated:
    """Mean losses of what was kept for validation; None: it has no such targets."""

    step: int
    code_loss: float | None
    text_loss: float | None


@dataclass(frozen=True)
class Previewed:
    """The strip of previews was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class SavedStep:
    """The adapter of this step was written."""

    step: int
    path: Path


Event = Step | Validated | Previewed | SavedStep


class Session:
    """A run that is ready to start; ``run`` trains, ``save`` writes what there is.

    Args:
        tell: called with what is done, how far, and of how many, before training starts.
        team: the processes that share every batch; each has the model and all data. Rank 0 writes.

    Raises:
        DataError: something in the data is wrong.
        DistributedError: that, or the following, is so on any of several processes.
        LiquidError: model, options or memory.
    """

    def __init__(
        self,
        options: Options,
        tell: Tell = lambda what, done, total: None,
        team: Team | None = None,
    ):
        self.options = options
        self.team = team or Team()
        self.folder = user_path(options.output)
        with self.team.together():
            saved = self._saved()
            config, sources, problems = self._sources()
            if problems:
                raise DataError(problems)
            tell("loading the model", 0, 0)
            self.liquid, self._backbone = self._load(config)
            self._complete(sources, tell)
            self._examples = Examples(
                self.liquid.prompts,
                config,
                options.settings.recipe,
                options.settings.max_seq_length,
            )
            longest = self._check(sources, tell)
            for source in sources:
                hold_out(source, options.val_split, options.settings.seed)
        data, room = data_digest(sources), min(self.team.gather(memory.available()))
        begun = "none" if saved is None else f"of step {saved.step}"
        with self.team.together(**{"training data": data, "a checkpoint": begun}):
            self.settings, self.need = self._settings(sources, longest, saved, room)
            step = self.settings.examples_per_step
            order = Order(self._examples, sources, step, self.settings.seed)
            group = self.team.group
            self.trainer = Trainer(self._backbone, config, self.settings, order, group)
            self._run = Run(options.model, self.settings, data)
            if saved is not None:
                checkpoint.resume(self.trainer, saved, self._run, self.folder)
        self.epoch_steps = order.steps_per_epoch
        self._valid = self._validation(sources)
        self.counts = (
            sum(len(source.records) for source in sources),
            sum(len(source.held_out) for source in sources),
        )
        self._saved_step = self.trainer.step if saved else -1

    def _saved(self) -> checkpoint.Saved | None:
        """The state to go on from, and that nothing else is overwritten."""
        if self.options.resume:
            return checkpoint.read(self.folder)
        if (self.folder / WEIGHTS).exists() or self.folder.is_file():
            raise FileError(
                f"{self.folder} exists already: go on with --resume, or name another folder."
            )
        return None

    def _sources(self) -> tuple[LiquidConfig, list[Source], list[Problem]]:
        if not self.options.data:
            raise UsageError("Give training data: a folder or a file.")
        config = LiquidConfig.read(resolve(self.options.model))
        sources, problems = [], []
        for text in self.options.data:
            source, found = read_source(
                text, config, self.options.image_folder, self.options.captions
            )
            sources.append(source)
            problems += found
        return config, sources, problems

    def _load(self, config: LiquidConfig) -> tuple[Liquid, Backbone]:
        folder = resolve(self.options.model)
        full = self.options.settings.adapter.kind == "full"
        dtype = "float32" if full else self.options.dtype
        backbone = load_backbone(folder, config, dtype, fuse=False)
        vqgan, prompts = load_vqgan(folder, config), Prompts.read(folder, config)
        return Liquid(config, backbone, vqgan, prompts, name=self.options.model), backbone

    def _complete(self, sources: Sequence[Source], tell: Tell) -> None:
        """Captions that are missing, and codes of all pictures."""
        encoder = Encoder(self.liquid, self.options.cache)
        problems: list[Problem] = []
        for source in sources:
            for name in ("records", "held_out"):
                records: list[Record] = getattr(source, name)
                records = [self._captioned(record, tell) for record in records]
                told = partial(_encoding, tell, len(records))
                found, wrong = encode_all(self.liquid, encoder, records, told)
                setattr(source, name, found)
                problems += wrong
        if problems:
            raise DataError(problems)

    def _captioned(self, record: Record, tell: Tell) -> Record:
        if record.picture is None or record.text is not None or record.picture.path is None:
            return record
        tell(f"describing {record.picture.path.name}", 0, 0)
        text = self.liquid.caption(record.picture.path)
        if not text:
            raise DataError([Problem(record.where, "the model describes it with no word")])
        atomic_write(record.picture.path.with_suffix(".txt"), text + "\n")
        return record.with_text(text)

    def _check(self, sources: Sequence[Source], tell: Tell) -> int:
        """The longest example's tokens; raises DataError."""
        longest, problems = 2, []
        records = [r for source in sources for r in (*source.records, *source.held_out)]
        for i, record in enumerate(records):
            tell("checking the data", i, len(records))
            try:
                longest = max(longest, self._examples.longest_of(record))
            except LiquidError as error:
                problems.append(Problem(record.where, str(error)))
        if problems:
            raise DataError(problems)
        return longest

    def _settings(
        self, sources: Sequence[Source], longest: int, saved: checkpoint.Saved | None, room: int
    ) -> tuple[TrainSettings, Need]:
        """The settings with what follows from data and memory."""
        settings, wanted = self.options.settings, self.options.grad_checkpoint
        if self.options.epochs is not None:
            order = Order(self._examples, sources, settings.examples_per_step, settings.seed)
            iters = max(1, round(self.options.epochs * order.steps_per_epoch))
            settings = replace(settings, iters=iters)
        split = self.options.split
        if saved is not None:  # what was chosen then counts, not how much memory there is now
            before = saved.run.settings
            wanted = before.grad_checkpoint if wanted is None else wanted
            if split and before.examples_per_step == settings.examples_per_step:
                split = False
                settings = replace(
                    settings, batch_size=before.batch_size, grad_accum=before.grad_accum
                )
        return fit_memory(
            self.liquid,
            settings,
            longest,
            checkpoint=wanted,
            split=split,
            machines=self.team.size,
            room=room,
        )

    def _validation(self, sources: Sequence[Source]) -> list[Example]:
        records = [record for source in sources for record in source.held_out]
        return [
            self._examples.make(record, np.random.default_rng([i, 5]))
            for i, record in enumerate(records)
        ]

    def run(self) -> Iterator[Event]:
        """Train to the end, yielding what happens; can be left and gone on with at any event."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = report.Log(self.folder / LOG, self.trainer.step) if self.team.first else None
        if self.trainer.step == 0:
            yield from self._look(log, self.options.preview_every, self.options.eval_every)
        started = time.perf_counter()
        for step in self.trainer.run():
            if log is not None:
                log.step(step, time.perf_counter() - started)
            yield step
            last = step.step == self.settings.iters
            yield from self._look(
                log,
                last or _due(self.options.preview_every, step.step),
                last or _due(self.options.eval_every, step.step),
            )
            if last or _due(self.options.save_every, step.step):
                yield from self.save()
                if log is not None:
                    report.curve(self.folder / CURVE, log.rows)
            started = time.perf_counter()

    def _look(self, log: report.Log | None, preview: object, validate: object) -> Iterator[Event]:
        step = self.trainer.step
        if validate and self._valid:
            losses = self.trainer.validate(self._valid)
            if log is not None:
                log.validation(step, losses)
            yield Validated(step, *losses)
        if preview and self.options.preview and self.options.preview_every and self.team.first:
            yield Previewed(step, self._preview())

    def _preview(self) -> Path:
        """Draw the prompts, always with the same seeds, and put them under those before."""
        prompts = list(self.options.preview)
        folder = self.folder / PREVIEWS
        folder.mkdir(exist_ok=True)
        liquid = self.liquid
        liquid.use_adapters()  # heads and prefixes anew: those before are of other weights
        pictures = liquid.generate_images(prompts, seeds=self.settings.seed)
        for i, picture in enumerate(pictures):
            picture.save(folder / f"{self.trainer.step:07d}-{i}.png")
        steps = sorted({int(file.name[:7]) for file in folder.glob("[0-9]" * 7 + "-*.png")})
        rows = [
            (step, [folder / f"{step:07d}-{i}.png" for i in range(len(prompts))])
            for step in steps
            if step <= self.trainer.step
        ]
        path = self.folder / STRIP
        whole = [row for row in rows if all(file.is_file() for file in row[1])]
        report.strip(path, prompts, whole)
        return path

    def save(self) -> Iterator[Event]:
        """Write adapter and state, unless this step's are there."""
        if self.team.first and self._saved_step != self.trainer.step:
            keep = self.settings.adapter.kind != "full"
            checkpoint.save(self.folder, self.trainer, self._run, keep=keep)
            self._saved_step = self.trainer.step
            yield SavedStep(self.trainer.step, self.folder)


def _encoding(tell: Tell, count: int, name: str, done: int) -> None:
    tell("encoding pictures", done, count)


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
