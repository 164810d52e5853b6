"""``liquid caption``: descriptions of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from liquid_mlx.errors import FileError, LiquidError
from liquid_mlx.files import atomic_write

from .. import options
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
        sources = expand(pictures)
        total = len(sources)
        if txt and any(source.path is None for source in sources):
            raise FileError("--txt needs image files: it cannot write next to URLs and stdin.")
        if txt and not overwrite:
            sources = [s for s in sources if s.path and not s.path.with_suffix(".txt").exists()]
            if len(sources) < total:
                status.say(f"{total - len(sources)} of {total} images have a .txt already")
        liquid = options.load_model(model, status, dtype=dtype, verbose=verbose, adapter=adapter)
        columns = ["caption"] if total == 1 else ["picture", "caption"]
        widths = [max((len(source.name) for source in sources), default=0)]
        results = Results(columns, widths, output, single=total == 1)
        failed = _describe(liquid, sources, sampling, not no_exif, txt, results, status)
        results.end()
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)


def _describe(
    liquid: Liquid,
    sources: Sequence[Source],
    sampling: options.Sampling,
    exif: bool,
    txt: bool,
    results: Results,
    status: Status,
) -> int:
    """Add a caption per image to the results; the number of failures."""
    failed = 0
    for i, source in enumerate(sources):
        if not results.single:
            status.progress(source.name, i, len(sources), "captions")
        try:
            text = liquid.caption(source.read(), exif=exif, **options.seeded(sampling, i))
        except LiquidError as error:
            if results.single:
                raise
            failed += 1
            status.warn(about(source.name, error))
            results.add({"picture": source.name, "error": str(error)})
            continue
        status.clear()
        if txt and source.path:
            atomic_write(source.path.with_suffix(".txt"), text + "\n")
        results.add({"picture": source.name, "caption": text})
    return failed
