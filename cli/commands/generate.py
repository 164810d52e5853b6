"""``liquid generate``: images from prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquid_mlx.errors import LiquidError, UsageError

from .. import options, tasks
from ..drawing import (
    Draw,
    OutputOptions,
    Progress,
    SavedImage,
    draw,
    tell,
    write_statistics,
)
from ..drawing import contact_sheet as write_contact_sheet
from ..outputs import DEFAULT_NAME
from ..tasks import Wanted, paths_of, statistics_of
from ..terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid


def generate(
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
    prompts_jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts with settings, one object per line."),
    ] = None,
    output: options.Output = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out images whose files exist.")
    ] = False,
    model: options.OptionalModel = None,
    adapter: options.Adapter = None,
    seed: Annotated[str | None, typer.Option(metavar="N,N,...", help="One image per seed.")] = None,
    auto_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="N images with random seeds.")
    ] = None,
    count: options.Count = 1,
    best_of: Annotated[
        int, typer.Option(metavar="N", min=1, help="Draw N, keep the best.", show_default=False)
    ] = 1,
    judge: Annotated[
        str,
        typer.Option(metavar="NAME", help="By likelihood, question or both.", show_default=False),
    ] = "both",
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop the worse half at half of the rows.")
    ] = False,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Write the others, too, as NAME-2, NAME-3 ...")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images at once; else what fits."),
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
    guidance: options.Guidance = None,
    temperature: options.ImageTemperature = None,
    top_k: options.ImageTopK = None,
    top_p: options.ImageTopP = None,
    instruction: options.Instruction = None,
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
    metadata: options.SidecarFile = False,
    no_metadata: options.NoMetadata = False,
    stats: options.Stats = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write all images to one PNG.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the image in the terminal as it grows.")
    ] = False,
    stepwise_image_output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a PNG after each row.")
    ] = None,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="On Ctrl-C, write the finished rows.")
    ] = False,
    low_ram: options.LowRam = False,
    window: Annotated[str, typer.Option(metavar="N", help="Jacobi window, 1 to 8 or auto.")] = "1",
    as_json: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Generate images from prompts. Settings not given are the model's own."""
    _refuse(
        (metadata, "--metadata", no_metadata, "--no-metadata"),
        (overwrite, "--overwrite", skip_existing, "--skip-existing"),
        (best_of > 1, "--best-of", stepwise_image_output_dir or keep_partial, "partial images"),
        (prompts_jsonl, "--prompts-jsonl", prompts or prompt or prompt_file, "other prompts"),
        (prompts_jsonl, "--prompts-jsonl", count > 1 or auto_seeds, "--count or --auto-seeds"),
    )
    stored = tasks.stored_settings(config) if config else {}
    settings = {
        name: stored.get(name) if value is None else value
        for name, value in {
            "guidance": guidance,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "instruction": instruction,
            "batch_size": batch_size,
            "window": tasks.window_of(window),
            **tasks.size_of(size, width, height),
        }.items()
    }
    if best_of > 1:
        settings |= {"best_of": best_of, "judge": judge, "prune": prune, "keep_all": keep_all}
    seeds = tasks.seeds_of(seed, auto_seeds, stored.get("seed"))
    if prompts_jsonl:
        lines = tasks.read_jsonl(prompts_jsonl, seeds[0])
    else:
        texts = tasks.prompts_of(prompts, prompt, prompt_file, stored.get("prompt"))
        lines = tasks.lines_of(texts, seeds, count, best_of)
    paths = paths_of(lines, output, best_of if keep_all else 1)
    wanted = Wanted(lines, paths, statistics_of(stats, paths))
    how = OutputOptions(
        settings={name: value for name, value in settings.items() if value is not None},
        metadata=not no_metadata,
        sidecar=metadata,
        preview=preview and not quiet,
        keep_partial=keep_partial,
        steps_folder=stepwise_image_output_dir,
        overwrite=overwrite,
    )
    with Status(quiet) as status:
        if skip_existing:
            wanted = wanted.missing(output, seed is None and "seed" not in stored, status)
        wanted.check_free(how, contact_sheet)
        if not wanted.lines:
            return
        name, dtype = model or stored.get("model") or "demo", dtype or stored.get("dtype")
        liquid = options.load_model(
            name,
            status,
            dtype=dtype,
            adapter=adapter or stored.get("adapters"),
            low_ram=low_ram,
            verbose=verbose,
        )
        if note := liquid.config.note_for(*(line.prompt for line in wanted.lines)):
            status.say(note)
        saved, failed = _run(liquid, wanted, how, status, as_json)
        if contact_sheet and saved:
            write_contact_sheet(contact_sheet, saved, overwrite)
            status.say(f"{contact_sheet}  {len(saved)} images")
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


def _refuse(*pairs: tuple[object, str, object, str]) -> None:
    """Raise UsageError for the first two options of which both are given."""
    for given, name, other_given, other in pairs:
        if given and other_given:
            raise UsageError(f"{name} and {other} cannot be combined.")


def _run(
    liquid: Liquid, wanted: Wanted, how: OutputOptions, status: Status, as_json: bool
) -> tuple[list[SavedImage], int]:
    """Draw in batches; what was written, and how many prompts failed.

    A prompt that fails, or a batch too large for memory, stops all: what is left is then drawn
    prompt by prompt, so that only what is wrong fails.
    """
    saved: list[SavedImage] = []
    failed = 0
    progress = Progress(len(wanted.lines) * how.settings.get("best_of", 1))

    def run(part: Draw, how: OutputOptions) -> None:
        for one in draw(liquid, part, how, status, progress):
            saved.append(one)
            if one.path in wanted.statistics:
                write_statistics(liquid, one.picture, wanted.statistics[one.path])
            tell(one, status, as_json)

    for own, task in tasks.groups(wanted.lines, wanted.paths):
        mine, before = replace(how, settings={**how.settings, **own}), len(saved)
        try:
            run(task, mine)
        except LiquidError:
            if len({line.prompt for line in wanted.lines}) == 1:
                raise
            for part in task.by_prompt(len(saved) - before):
                try:
                    run(part, mine)
                except LiquidError as error:
                    status.warn(f"{part.prompts[0]!r}: {error}")
                    failed += 1
    return saved, failed
