"""``liquid compare``: what a quantization or an adapter costs, without any data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from liquid_mlx.errors import UsageError

from .. import evaluating, options
from ..outputs import read_lines
from ..terminal import Status


def compare(
    first: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model to compare with.", show_default=False)
    ],
    second: Annotated[
        str, typer.Argument(metavar="MODEL", help="The other one.", show_default=False)
    ],
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Sequences.")] = 16,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prompts, one a line, instead of its own.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of image_path and text, instead of drawing."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the sequences.")] = 0,
    guidance: Annotated[
        float | None,
        typer.Option(metavar="G", help="Of drawing, and of the guided distribution."),
    ] = None,
    adapter: options.Adapter = None,
    dtype: options.Dtype = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also write .json, .md or .html; can be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All digits, as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare two models on sequences that the first one draws.

    An adapter is that of the second model.
    """
    from liquid_mlx.evaluation.compare import compare as measure

    from ..training_data import pairs

    evaluating.check_reports(report or [])
    if prompts is not None and data is not None:
        raise UsageError("--prompts and --data cannot be combined.")
    texts = read_lines(prompts) if prompts else None
    given = [(pair.path, pair.text) for pair in pairs(data)] if data else None
    with Status(quiet) as status:
        doing = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal doing
            if what != doing:
                doing = what
                status.start(what)
            status.progress(what, done, total, "steps")

        found = measure(
            first,
            second,
            count=count,
            prompts=texts,
            pairs=given,
            seed=seed,
            guidance=guidance,
            dtype=dtype,
            adapter=adapter or (),
            progress=show,
        )
        evaluating.write_reports([found], report or [], status)
    evaluating.show([found], as_json)
