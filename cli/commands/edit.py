"""``liquid edit`` and ``liquid vary``: pictures that begin with a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liquid_mlx.errors import UsageError
from liquid_mlx.params import MAX_COUNT, SEEDS, integer, seeds_for

from .. import options
from ..drawing import OutputOptions, Progress, tell, write, write_statistics
from ..inputs import Source
from ..outputs import DEFAULT_NAME, open_files
from ..tasks import Line, Wanted, paths_of, statistics_of
from ..terminal import Status

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid
    from liquid_mlx.results import ImageStep

Picture = Annotated[
    str, typer.Argument(metavar="PICTURE", help="A file or a web address.", show_default=False)
]


def edit(
    picture: Picture,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="All that is to be seen.", show_default=False)
    ],
    keep_rows: Annotated[
        int | None, typer.Option(metavar="K", help="Keep K rows of codes, draw those below.")
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A picture: white or transparent is redrawn."),
    ] = None,
    candidates: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="With --mask: draw N, keep the one that fits best."),
    ] = 1,
    output: options.Output = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    guidance: options.Guidance = None,
    temperature: options.ImageTemperature = None,
    top_k: options.ImageTopK = None,
    top_p: options.ImageTopP = None,
    instruction: options.Instruction = None,
    dtype: options.Dtype = None,
    metadata: options.SidecarFile = False,
    no_metadata: options.NoMetadata = False,
    stats: options.Stats = None,
    preview: options.Preview = None,
    open_: options.Open = False,
    scale: options.Scale = 1,
    low_ram: options.LowRam = False,
    as_json: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Redraw a part of a picture and keep the rest as it is. Nothing that is drawn looks ahead."""
    if (keep_rows is None) == (mask is None):
        raise UsageError("Give --keep-rows or --mask, and not both.")
    if candidates > 1 and mask is None:
        raise UsageError("--candidates needs a --mask.")
    count = integer("--count", count, 1, MAX_COUNT // candidates, "ask for fewer images")
    (seed,) = seeds_for(seed, 1)
    seeds = [(seed + i * candidates) % SEEDS for i in range(count)]
    source = Source(picture).read()
    hole = None if mask is None else Source(mask).read()

    def start(liquid: Liquid) -> Iterator[ImageStep]:
        return liquid.stream_edit(
            source,
            prompt,
            rows=keep_rows,
            mask=hole,
            candidates=candidates,
            count=count,
            seed=seed,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            instruction=1 if instruction is None else instruction,
        )

    _draw(
        start,
        [Line(prompt, one) for one in seeds],
        _output(metadata, no_metadata, overwrite, scale, False if quiet else preview),
        count * candidates,
        output=output,
        stats=stats,
        open_=open_,
        load=partial(
            options.load_model,
            model,
            adapter=adapter,
            dtype=dtype,
            low_ram=low_ram,
            verbose=verbose,
        ),
        verbose=verbose,
        as_json=as_json,
        quiet=quiet,
    )


def vary(
    picture: Picture,
    strength: Annotated[
        float, typer.Option(metavar="S", help="0 is the same picture, 1 a new one.")
    ] = 0.3,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", "-p", metavar="TEXT", help="What it shows.", show_default="its own"
        ),
    ] = None,
    output: options.Output = DEFAULT_NAME,
    overwrite: options.Overwrite = False,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    guidance: options.Guidance = None,
    temperature: options.ImageTemperature = None,
    top_k: options.ImageTopK = None,
    top_p: options.ImageTopP = None,
    dtype: options.Dtype = None,
    metadata: options.SidecarFile = False,
    no_metadata: options.NoMetadata = False,
    stats: options.Stats = None,
    preview: options.Preview = None,
    open_: options.Open = False,
    scale: options.Scale = 1,
    low_ram: options.LowRam = False,
    as_json: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Draw pictures that are like one. Settings not given are the picture's own."""
    count = integer("--count", count, 1, MAX_COUNT, f"use 1 to {MAX_COUNT}")
    seeds = seeds_for(seed, count)
    source = Source(picture).read()
    name = prompt or (f"{source.stem}-varied" if isinstance(source, Path) else "varied")

    def start(liquid: Liquid) -> Iterator[ImageStep]:
        return liquid.stream_vary(
            source,
            strength=strength,
            prompt=prompt,
            count=count,
            seed=seeds[0],
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )

    _draw(
        start,
        [Line(name, one) for one in seeds],
        _output(metadata, no_metadata, overwrite, scale, False if quiet else preview),
        count,
        output=output,
        stats=stats,
        open_=open_,
        load=partial(
            options.load_model,
            model,
            adapter=adapter,
            dtype=dtype,
            low_ram=low_ram,
            verbose=verbose,
        ),
        verbose=verbose,
        as_json=as_json,
        quiet=quiet,
    )


def _output(
    metadata: bool, no_metadata: bool, overwrite: bool, scale: int, preview: bool | None
) -> OutputOptions:
    if metadata and no_metadata:
        raise UsageError("--metadata and --no-metadata cannot be combined.")
    return OutputOptions(
        settings={},
        metadata=not no_metadata,
        sidecar=metadata,
        preview=preview,
        overwrite=overwrite,
        scale=scale,
    )


def _draw(
    start: Callable[[Liquid], Iterator[ImageStep]],
    lines: list[Line],
    how: OutputOptions,
    drawn: int,
    *,
    output: str,
    stats: Path | None,
    open_: bool,
    load: Callable[[Status], Liquid],
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Load the model, draw, write and tell; ``drawn`` counts candidates, too."""
    paths = paths_of(lines, output, 1)
    wanted = Wanted(lines, paths, statistics_of(stats, paths))
    wanted.check_free(how, None)
    with Status(quiet) as status:
        liquid = load(status)
        for one in write(start(liquid), [p for (p,) in paths], how, status, Progress(drawn)):
            if one.path in wanted.statistics:
                write_statistics(liquid, one.picture, wanted.statistics[one.path], how)
            tell(one, status, as_json)
        if verbose:
            status.say(options.memory())
        if open_:
            open_files([path for (path,) in paths], status)
