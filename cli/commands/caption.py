"""``liquid caption``: what is in pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import options


def caption(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE",
            help="Files, folders, globs, http(s) addresses, or - (stdin).",
            show_default=False,
        ),
    ],
    txt: Annotated[
        bool, typer.Option("--txt", help="Write NAME.txt beside every picture, as trainers want.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write .txt files anew that exist already.")
    ] = False,
    as_json: options.Json = False,
    as_jsonl: options.Jsonl = False,
    model: options.Model = "demo",
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
    """Describe pictures."""
    from liquid_mlx import load
    from liquid_mlx.errors import ImageError, LiquidError
    from liquid_mlx.files import atomic_write

    from ..inputs import expand
    from ..printer import Results, form
    from ..terminal import Status, about

    shape = form(as_json, as_jsonl)
    with Status(quiet) as status:
        sources = expand(pictures)
        if txt and any(source.path is None for source in sources):
            raise ImageError("--txt needs picture files: the web and stdin have no place beside.")
        total, failed = len(sources), 0
        if txt and not overwrite:
            todo = [s for s in sources if s.path and not s.path.with_suffix(".txt").exists()]
            if len(todo) < total:
                status.say(f"{total - len(todo)} of {total} pictures have a .txt already")
            sources = todo
        status.start(f"loading {model}")
        liquid = load(model, dtype=dtype)
        if verbose:
            status.say(f"{model} loaded in {status.seconds:.2f} s")
        status.start()
        widths = [max((len(source.name) for source in sources), default=0)]
        columns = ["caption"] if total == 1 else ["picture", "caption"]
        results = Results(columns, widths, shape, single=total == 1)
        for i, source in enumerate(sources):
            if total > 1:
                status.progress(source.name, i + 1, len(sources), "captions")
            settings: dict[str, Any] = {
                "max_tokens": max_tokens,
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "seed": None if seed is None else (seed + i) % 2**32,
            }
            try:
                text = liquid.caption(source.read(), exif=not no_exif, **settings)
            except LiquidError as error:
                if total == 1:
                    raise
                failed += 1
                status.warn(about(source.name, error))
                results.add({"picture": source.name, "error": str(error)})
                continue
            status.clear()
            if txt and source.path:
                atomic_write(source.path.expanduser().with_suffix(".txt"), text + "\n")
            results.add({"picture": source.name, "caption": text})
        results.end()
        if verbose:
            status.say(options.memory())
    if failed:
        raise typer.Exit(3)
