"""``liquid generate``: images from prompts."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.config import Size
from liquid_mlx.errors import FileError, LiquidError, UsageError
from liquid_mlx.files import read_json
from liquid_mlx.params import MAX_COUNT, integer, seeds_for

from .. import options
from ..contact_sheet import contact_sheet as write_contact_sheet
from ..drawing import Draw, OutputOptions, SavedImage, draw, sidecar, summary
from ..outputs import DEFAULT_NAME, check_free, open_files, picture_paths, read_lines
from ..startup import hints
from ..startup.command import given
from ..terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid

FAR = 3  # times the recommended guidance
# What a picture's settings may hold, by type; a sidecar may come from anywhere.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "model", "dtype"), str),
    **dict.fromkeys(("seed", "top_k", "width", "height"), int),
    **dict.fromkeys(("guidance", "temperature", "top_p"), (int, float)),
}


def generate(
    ctx: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="A prompt; - reads prompts from stdin."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="A prompt; can be repeated."),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts, one per line; - is stdin."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="NAME", help="A PNG or folder; {seed} {index} {prompt}."
        ),
    ] = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    model: options.OptionalModel = None,
    adapter: options.Adapter = None,
    seed: Annotated[str | None, typer.Option(metavar="N,N,...", help="One image per seed.")] = None,
    auto_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="N images with random seeds.")
    ] = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="N images: seed, seed + 1, ...")
    ] = 1,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images drawn at once.", show_default="what fits"),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="One of the model's sizes.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Width, instead of --size.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Height, instead of --size.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="G", help="Classifier-free guidance; 1 is off.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "--temp", metavar="T", help="0 is greedy decoding."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", help="Sample from the K likeliest; 0: all.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Nucleus sampling; 1 is off.")
    ] = None,
    dtype: options.Dtype = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config-from-metadata",
            "-C",
            metavar="FILE",
            help="Settings of a PNG or sidecar.",
        ),
    ] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Also write settings to NAME.metadata.json.")
    ] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Write no settings into the PNG.")
    ] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write all images to one PNG.")
    ] = None,
    preview: Annotated[
        bool | None,
        typer.Option(
            "--preview/--no-preview",
            help="Show the image in the terminal as it grows.",
            show_default="where it can",
        ),
    ] = None,
    open_: options.Open = False,
    scale: options.Scale = 1,
    stepwise_image_output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a PNG after each row.")
    ] = None,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="On Ctrl-C, write the finished rows.")
    ] = False,
    low_ram: Annotated[
        bool, typer.Option("--low-ram", help="Free the language model before pixels are decoded.")
    ] = False,
    window: Annotated[
        str, typer.Option(metavar="N", help="Jacobi window: 1 to 8 tokens, or auto.")
    ] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per image.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Generate images from prompts. Settings not given are those that the model recommends."""
    if metadata and no_metadata:
        raise UsageError("--metadata and --no-metadata cannot be combined.")
    stored = _stored_settings(config) if config else {}
    settings = {
        name: _preferred(ctx, name, value, stored)
        for name, value in {
            "guidance": guidance,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "window": _window(window),
            "batch_size": batch_size,
            **_size(size, width, height),
        }.items()
    }
    hints.check_prompts(prompts or [], seed)
    texts = _prompts([*(prompts or []), *(prompt or [])], prompt_file, stored.get("prompt"))
    count = integer("--count", count, 1, MAX_COUNT, f"use 1 to {MAX_COUNT}")
    seeds = _seeds(_preferred(ctx, "seed", seed, stored), auto_seeds, count)
    total = len(texts) * len(seeds) * count
    if total > MAX_COUNT:
        raise UsageError(f"These are {total} images: a command makes at most {MAX_COUNT}.")
    wanted = [(text, (one + i) % 2**32) for text in texts for one in seeds for i in range(count)]
    paths = picture_paths(output, wanted)
    task = Draw([text for text, _ in wanted], [one for _, one in wanted], paths)
    sidecars = map(sidecar, paths) if metadata else ()
    check_free([*paths, *sidecars, *([contact_sheet] if contact_sheet else [])], overwrite)
    how = OutputOptions(
        settings={name: value for name, value in settings.items() if value is not None},
        metadata=not no_metadata,
        sidecar=metadata,
        preview=preview if not quiet else False,
        keep_partial=keep_partial,
        steps_folder=stepwise_image_output_dir,
        overwrite=overwrite,
        scale=scale,
    )
    with Status(quiet) as status:
        liquid = options.load_model(
            _preferred(ctx, "model", model, stored) or "demo",
            status,
            dtype=_preferred(ctx, "dtype", dtype, stored),
            adapter=adapter,
            low_ram=low_ram,
            verbose=verbose,
        )
        _notes(liquid, texts, settings["guidance"], status)
        saved, failed = _run(liquid, task, how, status, as_json)
        if contact_sheet and saved:
            write_contact_sheet(
                contact_sheet, [(one.path, one.picture.settings.seed) for one in saved]
            )
            status.say(f"{contact_sheet}  {len(saved)} images")
        if verbose:
            status.say(options.memory())
        if open_:
            open_files([one.path for one in saved], status)
    if failed:
        raise typer.Exit(3)


def _preferred(ctx: typer.Context, name: str, value: Any, stored: Mapping[str, Any]) -> Any:
    """A flag's value, else what is stored in a picture, else the user's own default or None."""
    return stored[name] if name in stored and not given(ctx, name) else value


def _notes(liquid: Liquid, prompts: Sequence[str], guidance: float | None, status: Status) -> None:
    """Say what the model does not know, and when guidance is far above its own."""
    if note := liquid.config.note_for(*prompts):
        status.say(note)
    recommended = liquid.config.recommended.guidance
    if guidance is not None and guidance > FAR * max(1.0, recommended):
        status.say(
            f"guidance {guidance:g} is far above the {recommended:g} that this model recommends: "
            "images may become crude, and all alike"
        )


def _run(
    liquid: Liquid, task: Draw, how: OutputOptions, status: Status, as_json: bool
) -> tuple[list[SavedImage], int]:
    """Draw in batches; what was written, and how many prompts failed.

    A prompt that fails, or a batch too large for memory, stops all: what is left is then drawn
    prompt by prompt, so that only what is wrong fails.
    """
    saved: list[SavedImage] = []
    failed = 0
    if how.steps_folder:
        how.steps_folder.mkdir(parents=True, exist_ok=True)

    def run(part: Draw) -> None:
        for one in draw(liquid, part, how, status):
            saved.append(one)
            status.say(summary(one))
            if as_json:
                print(json.dumps(one.to_dict(), ensure_ascii=False), flush=True)
            elif not (status.live and sys.stdout.isatty()):  # there the summary says it
                print(one.path, flush=True)

    try:
        run(task)
    except LiquidError:
        if len(set(task.prompts)) == 1:
            raise
        for part in task.by_prompt(len(saved)):
            try:
                run(part)
            except LiquidError as error:
                status.warn(f"{part.prompts[0]!r}: {error}")
                failed += 1
    return saved, failed


def _prompts(texts: Sequence[str], file: Path | None, stored: str | None) -> list[str]:
    """The prompts of the command line and of the file, else the stored one."""
    found: list[str] = []
    for text in texts:
        found += read_lines(Path("-")) if text == "-" else [text]
    if file:
        found += read_lines(file)
    if not found and stored is not None:
        found = [stored]
    if not found:
        raise UsageError("Give a prompt or a --prompt-file.")
    return found


def _window(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--window is 1 to 8 or auto, not {text!r}.") from None


def _size(size: str | None, width: int | None, height: int | None) -> dict[str, int | None]:
    if size is None:
        return {"width": width, "height": height}
    if width or height:
        raise UsageError("--size cannot be combined with --width and --height.")
    parsed = Size.parse(size)
    return {"width": parsed.width, "height": parsed.height}


def _seeds(given_seeds: str | int | None, auto: int | None, count: int) -> list[int]:
    """The seeds of the command line or of a picture (an int), else random ones."""
    text = None if given_seeds is None or (auto and type(given_seeds) is int) else str(given_seeds)
    if text is not None and auto is not None:
        raise UsageError("--seed and --auto-seeds cannot be combined.")
    if auto is not None:
        limit = f"use 1 to {MAX_COUNT}"
        auto = integer("--auto-seeds", auto, 1, MAX_COUNT, limit)
        seeds = random.SystemRandom().sample(range(2**32 - MAX_COUNT), auto)
    elif text is not None:
        try:
            seeds = [int(part) for part in text.split(",")]
        except ValueError:
            raise UsageError(f"--seed is an integer, or several: 1,2,3; not {text!r}.") from None
    else:
        seeds = [random.SystemRandom().randrange(2**32 - MAX_COUNT)]
    if len(seeds) > 1 and count > 1:
        raise UsageError("--count cannot be combined with several seeds.")
    return seeds_for(seeds, len(seeds))  # every one in range


def _stored_settings(path: Path) -> dict[str, Any]:
    """The settings of a PNG or of a sidecar; raises LiquidError if there are none."""
    from liquid_mlx.images import read_settings  # numpy and Pillow, which help does without

    values = read_json(path, FileError) if path.suffix == ".json" else read_settings(path)
    for name, value in values.items():
        if name in _KINDS and not isinstance(value, _KINDS[name]):
            raise FileError(f"{path} says {name} is {value!r}: it was not written by liquid-mlx.")
    return values
