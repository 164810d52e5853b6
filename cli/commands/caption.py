"""``liquid caption``: descriptions of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liquid_mlx.errors import FileError, LiquidError
from liquid_mlx.files import atomic_write

from .. import options, together
from ..inputs import Source, expand
from ..printer import Results
from ..terminal import Status, about

if TYPE_CHECKING:
    from liquid_mlx.model import Liquid


def caption(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders, globs, URLs, or - (stdin).",
            show_default=False,
        ),
    ],
    txt: Annotated[bool, typer.Option("--txt", help="Write NAME.txt next to each image.")] = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    as_jsonl: options.Jsonl = False,
    model: options.Model = "demo",
    adapter: options.Adapter = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = None,
    no_exif: options.NoExif = False,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Describe images."""
    output = options.output_format(as_json, as_jsonl)
    sampling = options.Sampling(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    with Status(quiet) as status:
        team = together.start(status)
        with team.together():
            sources = expand(pictures)
            if txt and any(source.path is None for source in sources):
                raise FileError("--txt needs image files: it cannot write next to URLs and stdin.")
        together.same(team, "images", [source.name for source in sources])
        tasks, total = list(enumerate(sources)), len(sources)
        if txt and not overwrite:
            there = [bool(s.path and s.path.with_suffix(".txt").exists()) for s in sources]
            there = team.anywhere(there)
            tasks = [(i, source) for i, source in tasks if not there[i]]
            if len(tasks) < total:
                status.say(f"{total - len(tasks)} of {total} images have a .txt already")
        liquid = options.load_model(
            model, status, dtype=dtype, verbose=verbose, adapter=adapter, team=team
        )
        columns = ["caption"] if total == 1 else ["picture", "caption"]
        widths = [max((len(source.name) for source in sources), default=0)]
        results = Results(columns, widths, output, single=total == 1)
        work = partial(_describe, liquid, sampling, not no_exif, txt, total == 1, status)
        failed = 0
        for row in team.each(tasks, work):
            failed += "error" in row
            results.add(row)
        if team.first:
            results.end()
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


def _describe(
    liquid: Liquid,
    sampling: options.Sampling,
    exif: bool,
    txt: bool,
    single: bool,
    status: Status,
    tasks: Sequence[tuple[int, tuple[int, Source]]],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A row per task, with the image's caption or an error; its own number makes the seed."""
    for done, (place, (i, source)) in enumerate(tasks):
        if not single:
            status.progress(source.name, done, len(tasks), "captions")
        try:
            text = liquid.caption(source.read(), exif=exif, **options.seeded(sampling, i))
        except LiquidError as error:
            if single:
                raise
            status.warn(about(source.name, error))
            yield place, {"picture": source.name, "error": str(error)}
            continue
        status.clear()
        if txt and source.path:
            atomic_write(source.path.with_suffix(".txt"), text + "\n")
        yield place, {"picture": source.name, "caption": text}
