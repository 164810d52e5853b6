"""``liquid generate``: images from prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.errors import LiquidError, UsageError

from .. import options, tasks, together
from ..drawing import (
    Draw,
    OutputOptions,
    Progress,
    draw,
    summary,
    tell_row,
    write_statistics,
)
from ..drawing import contact_sheet as write_contact_sheet
from ..outputs import DEFAULT_NAME, open_files
from ..startup import hints
from ..startup.command import given
from ..tasks import Line, Wanted, paths_of, statistics_of
from ..terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.distributed.ranks import Team
    from liquid_mlx.model import Liquid

FAR = 3  # times the recommended guidance


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
    prompts_jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts with settings, one object per line."),
    ] = None,
    output: options.Output = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
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
            metavar="PNG",
            help="Settings of a PNG or sidecar.",
        ),
    ] = None,
    metadata: options.SidecarFile = False,
    no_metadata: options.NoMetadata = False,
    stats: options.Stats = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write all images to one PNG.")
    ] = None,
    preview: options.Preview = None,
    open_: options.Open = False,
    scale: options.Scale = 1,
    stepwise_image_output_dir: Annotated[
        Path | None, typer.Option(metavar="D", help="Write a PNG after each row there.")
    ] = None,
    keep_partial: Annotated[
        bool, typer.Option("--keep-partial", help="On Ctrl-C, write the finished rows.")
    ] = False,
    tensor_parallel: options.TensorParallel = False,
    pipeline_parallel: options.PipelineParallel = None,
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
    settings = _chosen(
        ctx,
        stored,
        guidance=guidance,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        instruction=instruction,
        batch_size=batch_size,
        window=tasks.window_of(window),
        **tasks.size_of(size, width, height),
    )
    if best_of > 1:
        settings |= {"best_of": best_of, "judge": judge, "prune": prune, "keep_all": keep_all}
    seed = seed if given(ctx, "seed") or "seed" not in stored else None
    seeds = tasks.seeds_of(seed, auto_seeds, stored.get("seed"))
    prompts = hints.checked(prompts, seed)
    with Status(quiet) as status:
        team = together.start(status, tensor_parallel, pipeline_parallel)
        with team.together():  # a machine may lack a file
            if prompts_jsonl:
                lines = tasks.read_jsonl(prompts_jsonl, seeds[0])
            else:
                texts = tasks.prompts_of(prompts, prompt, prompt_file, stored.get("prompt"))
                lines = tasks.lines_of(texts, seeds, count, best_of)
        together.same(team, "prompts", [line.prompt for line in lines])
        seeds = team.from_first([line.seed for line in lines])
        lines = [replace(line, seed=one) for line, one in zip(lines, seeds, strict=True)]
        how = OutputOptions(
            settings=settings,
            metadata=not no_metadata,
            sidecar=metadata,
            preview=False if quiet or team.shares_work or not team.first else preview,
            keep_partial=keep_partial,
            steps_folder=stepwise_image_output_dir,
            overwrite=overwrite,
            scale=scale,
            write=team.first or team.shares_work,
        )
        with team.together():
            paths = paths_of(lines, output, best_of if keep_all else 1)
            wanted = Wanted(lines, paths, statistics_of(stats, paths))
        if skip_existing:
            wanted = wanted.missing(output, seed is None and "seed" not in stored, status, team)
        with team.together():
            wanted.check_free(how, contact_sheet)
        if not wanted.lines:
            return
        liquid = options.load_model(
            _preferred(ctx, "model", model, stored) or "demo",
            status,
            dtype=_preferred(ctx, "dtype", dtype, stored),
            adapter=adapter or stored.get("adapters"),
            low_ram=low_ram,
            verbose=verbose,
            team=team,
            pipeline_parallel=pipeline_parallel,
        )
        drawn, failed = _run(liquid, wanted, how, status, team, as_json)
        _notes(liquid, [line.prompt for line in wanted.lines], settings.get("guidance"), status)
        _end(drawn if team.first else [], failed, contact_sheet, overwrite, open_, verbose, status)


def _preferred(ctx: typer.Context, name: str, value: Any, stored: Mapping[str, Any]) -> Any:
    """A flag's value, else what is stored in a picture, else the user's own default or None."""
    return stored[name] if name in stored and not given(ctx, name) else value


def _chosen(ctx: typer.Context, stored: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """The settings that are not left to the model."""
    found = {name: _preferred(ctx, name, value, stored) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def _end(
    drawn: Sequence[tuple[Path, int]],
    failed: int,
    sheet: Path | None,
    overwrite: bool,
    viewer: bool,
    verbose: bool,
    status: Status,
) -> None:
    """What comes when all is drawn: a sheet of all, memory, the viewer, the exit code."""
    if sheet and drawn:
        write_contact_sheet(sheet, drawn, overwrite)
        status.say(f"{sheet}  {len(drawn)} images")
    if verbose:
        status.say(options.memory())
    if viewer:
        open_files([path for path, _ in drawn], status)
    if failed:
        raise typer.Exit(3)


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


def _refuse(*pairs: tuple[object, str, object, str]) -> None:
    """Raise UsageError for the first two options of which both are given."""
    for used, name, other_used, other in pairs:
        if used and other_used:
            raise UsageError(f"{name} and {other} cannot be combined.")


def _run(
    liquid: Liquid,
    wanted: Wanted,
    how: OutputOptions,
    status: Status,
    team: Team,
    as_json: bool,
) -> tuple[list[tuple[Path, int]], int]:
    """Draw this process's share, and tell what all have drawn; how many prompts failed."""
    drawn: list[tuple[Path, int]] = []
    failed = 0
    items = list(zip(wanted.lines, wanted.paths, strict=True))
    for row in team.each(items, partial(_draw, liquid, wanted, how, status)):
        if row is None:
            failed += 1
            continue
        line, values = row
        drawn.append((Path(values["path"]), values["seed"]))
        tell_row(line, values, status, as_json)
    return drawn, failed


def _draw(
    liquid: Liquid,
    wanted: Wanted,
    how: OutputOptions,
    status: Status,
    share: Sequence[tuple[int, tuple[Line, Sequence[Path]]]],
) -> Iterator[tuple[int, tuple[str, dict[str, Any]] | None]]:
    """Draw in batches; yields what is said of each file that was written, None for a failure.

    A prompt that fails, or a batch too large for memory, stops all: what is left is then drawn
    prompt by prompt, so that only what is wrong fails.
    """
    lines, paths = [line for _, (line, _) in share], [files for _, (_, files) in share]
    numbers = {path: i for i, (_, files) in share for path in files}
    progress = Progress(len(lines) * how.settings.get("best_of", 1))
    written = 0

    def run(
        part: Draw, how: OutputOptions
    ) -> Iterator[tuple[int, tuple[str, dict[str, Any]] | None]]:
        nonlocal written
        for one in draw(liquid, part, how, status, progress):
            written += 1
            if one.path in wanted.statistics:
                write_statistics(liquid, one.picture, wanted.statistics[one.path], how)
            yield numbers[one.path], (summary(one), one.to_dict())

    for own, task in tasks.groups(lines, paths):
        mine, before = replace(how, settings={**how.settings, **own}), written
        try:
            yield from run(task, mine)
        except LiquidError:
            if len({line.prompt for line in wanted.lines}) == 1:
                raise
            for part in task.by_prompt(written - before):
                try:
                    yield from run(part, mine)
                except LiquidError as error:
                    status.warn(f"{part.prompts[0]!r}: {error}")
                    yield numbers[part.paths[0]], None
