"""``liquid fuse``: write a model with adapters merged into its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..terminal import Status, duration


def fuse(
    adapter: Annotated[
        list[str],
        typer.Option(
            "--adapter",
            "--adapter-path",
            metavar="NAME[=S]",
            help="An adapter, with a strength if it is not 1; can be repeated.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", "--save-path", metavar="DIR", help="To write.")
    ],
    model: options.Model = "demo",
    dequantize: Annotated[
        bool, typer.Option("--dequantize", "-d", help="Write what was quantized unpacked.")
    ] = False,
    upload_repo: Annotated[
        str | None, typer.Option(metavar="ID", help="A Hugging Face repo to upload the result to.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Merge adapters into a model. The result is a folder of its own, quantized as it was."""
    from liquid_mlx.tuner.fuse import fuse as write

    with Status(quiet) as status:
        status.start()
        folder = write(
            model,
            adapter,
            output,
            dequantize=dequantize,
            upload_repo=upload_repo,
            tell=status.show,
        )
        status.say(f"{folder} is ready, in {duration(status.seconds)}")
        print(folder)
