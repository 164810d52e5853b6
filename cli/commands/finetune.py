"""``liquid finetune``: train an adapter on pictures, questions and texts."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.errors import FileError, UsageError

from .. import options, together
from ..terminal import Status, duration

if TYPE_CHECKING:
    from types import FrameType

    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.tuner.session import Options, Session
    from liquid_mlx.tuner.trainer import Step

MOST_PROBLEMS = 20  # that are listed


def finetune(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA...",
            help="Folders of images with .txt captions, JSONL or JSON files; :SHARE behind one.",
        ),
    ] = None,
    more_data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="DATA", help="The same; can be repeated."),
    ] = None,
    model: options.Model = "demo",
    output: Annotated[
        Path, typer.Option("--output", "-o", "--adapter-path", metavar="DIR", help="To write.")
    ] = Path("adapters"),
    iters: Annotated[int, typer.Option(metavar="N", help="Steps of the optimizer.")] = 1000,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Rounds over the data, instead of --iters.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Examples at once.", show_default="4, worked off in parts if need be"
        ),
    ] = None,
    grad_accum: Annotated[
        int,
        typer.Option(
            "--grad-accum", "--grad-accumulation-steps", metavar="N", help="Batches of a step."
        ),
    ] = 1,
    lr: Annotated[
        float, typer.Option("--lr", "--learning-rate", metavar="RATE", help="Learning rate.")
    ] = 2e-5,
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="cosine, linear or constant.")
    ] = "cosine",
    warmup: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the steps in which the rate rises.")
    ] = 0.03,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="adamw, sgd, lion or adafactor.")
    ] = "adamw",
    weight_decay: Annotated[float, typer.Option(metavar="W", help="Of the optimizer.")] = 0.0,
    max_grad_norm: Annotated[
        float, typer.Option(metavar="N", help="Longer gradients are shortened; 0 is off.")
    ] = 1.0,
    rank: Annotated[int, typer.Option(metavar="R", help="Of the adapter.")] = 8,
    scale: Annotated[float, typer.Option(metavar="S", help="Of the adapter.")] = 20.0,
    dropout: Annotated[float, typer.Option(metavar="P", help="In the adapter's inputs.")] = 0.0,
    layers: Annotated[
        int | None,
        typer.Option(
            "--layers",
            "--num-layers",
            metavar="N",
            help="The last N layers, -1: all.",
            show_default="16",
        ),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Train the embedding and the head, too.")
    ] = False,
    dora: Annotated[bool, typer.Option("--dora", help="DoRA instead of LoRA.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Train the weights themselves (small models).")
    ] = False,
    grad_checkpoint: Annotated[
        bool | None,
        typer.Option(
            "--grad-checkpoint/--no-grad-checkpoint",
            help="Compute activations twice instead of keeping them.",
            show_default="if memory needs it",
        ),
    ] = None,
    max_seq_length: Annotated[
        int, typer.Option(metavar="N", help="Longer examples are refused.")
    ] = 2048,
    t2i_ratio: Annotated[
        float, typer.Option(metavar="P", help="How often a picture is drawn, else described.")
    ] = 0.8,
    unconditional: Annotated[
        float, typer.Option(metavar="P", help="How often it is drawn without its caption.")
    ] = 0.1,
    instructions: Annotated[
        int, typer.Option(metavar="N", help="Wordings of the order to draw, 1 to 10.")
    ] = 10,
    captions: Annotated[
        str | None, typer.Option(metavar="auto", help="Let the model write missing .txt files.")
    ] = None,
    image_folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The images that files name.")
    ] = None,
    val_split: Annotated[float, typer.Option(metavar="SHARE", help="Kept for validation.")] = 0.1,
    eval_every: Annotated[
        int, typer.Option("--eval-every", "--steps-per-eval", metavar="N", help="0: never.", min=0)
    ] = 100,
    save_every: Annotated[
        int, typer.Option(metavar="N", help="Steps between checkpoints; 0: at the end.", min=0)
    ] = 100,
    preview: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="Drawn on the way; can be repeated."),
    ] = None,
    preview_every: Annotated[
        int, typer.Option(metavar="N", help="Steps between previews; 0: never.", min=0)
    ] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from DIR's checkpoint, as if never stopped.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data and memory, and stop.")
    ] = False,
    dtype: options.Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per event.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Fine-tune a model on your images, questions and texts. What is learned is an adapter."""
    if full and dora:
        raise UsageError("--full and --dora cannot be combined.")
    if not (data or more_data):
        raise UsageError("Give training data: a folder or a file.")
    _check(captions, epochs, val_split)
    from liquid_mlx.tuner.examples import Recipe
    from liquid_mlx.tuner.lora import AdapterSettings
    from liquid_mlx.tuner.session import Options
    from liquid_mlx.tuner.settings import TrainSettings

    settings = TrainSettings(
        adapter=AdapterSettings(
            kind="full" if full else "dora" if dora else "lora",
            rank=rank,
            scale=scale,
            dropout=dropout,
            layers=layers,
            embeddings=embeddings,
        ),
        recipe=Recipe(t2i_ratio=t2i_ratio, unconditional=unconditional, instructions=instructions),
        iters=iters,
        batch_size=4 if batch_size is None else batch_size,
        grad_accum=grad_accum,
        learning_rate=lr,
        schedule=schedule,
        warmup=warmup,
        optimizer=optimizer,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        max_seq_length=max_seq_length,
        seed=seed,
    )
    wanted = Options(
        model=model,
        data=[*(data or []), *(more_data or [])],
        output=output,
        settings=settings,
        epochs=epochs,
        image_folder=image_folder,
        captions=captions == "auto",
        val_split=val_split,
        eval_every=eval_every,
        save_every=save_every,
        preview_every=preview_every,
        preview=preview or [],
        grad_checkpoint=grad_checkpoint,
        split=batch_size is None,
        resume=resume,
        dtype=dtype,
    )
    with Status(quiet) as status:
        session = _open(wanted, status, together.start(status))
        _describe(session, status)
        if not dry_run:
            _train(session, status, as_json and session.team.first)


def _check(captions: str | None, epochs: float | None, val_split: float) -> None:
    if captions not in (None, "auto"):
        raise UsageError(f"--captions is auto, not {captions!r}.")
    if epochs is not None and not 0 < epochs <= 1e6:
        raise UsageError("--epochs is a number above 0.")
    if not 0 <= val_split < 1:
        raise UsageError("--val-split is 0 to less than 1.")


def _open(wanted: Options, status: Status, team: Team) -> Session:
    """A session, with the stages of its checks on the status line and every problem listed."""
    from liquid_mlx.tuner.session import DataError, Session

    stage = ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal stage
        if what != stage:
            status.start(what)
            stage = what
        if total:
            status.progress(what, done, total, "records")

    try:
        return Session(wanted, tell, team)
    except DataError as error:
        for problem in error.problems[:MOST_PROBLEMS]:
            status.warn(str(problem))
        more = len(error.problems) - MOST_PROBLEMS
        count = f"{len(error.problems)} problem{'s' if len(error.problems) > 1 else ''}"
        rest = f", {more} of them not listed" if more > 0 else ""
        raise FileError(f"The data have {count}{rest}: nothing was trained.") from None


def _describe(session: Session, status: Status) -> None:
    """What will be done, in three lines."""
    settings, adapter = session.settings, session.settings.adapter
    what = "all weights" if adapter.kind == "full" else f"{adapter.kind} of rank {adapter.rank}"
    trained, held_out = session.counts
    kept = f", {held_out} kept for validation" if held_out else ""
    status.say(
        f"{trained} records{kept}; {settings.iters} steps of {settings.examples_per_step} "
        f"({settings.iters / session.epoch_steps:.1f} epochs); {what}"
    )
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in session.need.parts().items())
    again = " with gradient checkpointing" if settings.grad_checkpoint else ""
    status.say(f"memory, predicted: {session.need.total / 1e9:.2f} GB{again} ({parts})")
    if session.trainer.step:
        status.say(f"going on from step {session.trainer.step}")


def _train(session: Session, status: Status, as_json: bool) -> None:
    """Run to the end or to Ctrl-C, of any process; either way what was learned is written."""
    from liquid_mlx.tuner.trainer import Step

    total, first = session.settings.iters, session.trainer.step
    tokens, latest, stopped = 0, "", False
    status.start()
    with _finishing_steps(status) as interrupted:
        for event in session.run():
            if isinstance(event, Step):
                tokens += event.tokens
                latest = _losses(event)
                speed = tokens / max(status.seconds, 1e-9)
                status.progress(
                    f"{latest}  {speed:.0f} tokens/s", event.step - first, total - first, "steps"
                )
            _report(event, status, as_json, latest)
            if isinstance(event, Step) and session.team.anywhere([bool(interrupted)])[0]:
                stopped = True
                break
        for event in session.save():
            _report(event, status, as_json, latest)
    if stopped or interrupted:
        status.say(f"stopped at step {session.trainer.step}: go on with --resume")
        raise typer.Exit(130)
    status.say(f"{session.folder}  trained in {duration(status.seconds)}")
    if session.team.first and not as_json:
        print(session.folder)


def _losses(step: Step) -> str:
    parts = {"draw": step.code_loss, "text": step.text_loss}
    return "  ".join(f"{name} {loss:.3f}" for name, loss in parts.items() if loss is not None)


def _report(event: Any, status: Status, as_json: bool, latest: str) -> None:
    from liquid_mlx.tuner.session import Previewed, SavedStep, Validated
    from liquid_mlx.tuner.trainer import Step

    if as_json:
        values = {name: value for name, value in vars(event).items() if value is not None}
        kind = {Step: "step", Validated: "validation", Previewed: "preview", SavedStep: "save"}
        status.clear()
        print(json.dumps({"event": kind[type(event)], **values}, default=str), flush=True)
    elif isinstance(event, Validated):
        parts = {"draw": event.code_loss, "text": event.text_loss}
        shown = "  ".join(f"{k} {v:.3f}" for k, v in parts.items() if v is not None)
        status.say(f"step {event.step}  validation {shown}")
    elif isinstance(event, Previewed):
        status.say(f"step {event.step}  {event.path}")
    elif isinstance(event, SavedStep):
        status.say(f"step {event.step}  saved{f'  {latest}' if latest else ''}")


@contextmanager
def _finishing_steps(status: Status) -> Iterator[list[bool]]:
    """Within it the first Ctrl-C only fills the list: the step is finished, and saved.

    A second one ends the program at once; the last checkpoint stays.
    """
    interrupted: list[bool] = []

    def heed(_signal: int, _frame: FrameType | None) -> None:
        if interrupted:
            raise KeyboardInterrupt
        interrupted.append(True)
        status.say("finishing this step; Ctrl-C again leaves at once")

    try:
        before = signal.signal(signal.SIGINT, heed)
    except ValueError:  # not in the main thread, where no Ctrl-C arrives
        yield interrupted
        return
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
