"""``liquid generate``: pictures of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from liquid_mlx.cli import options


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")],
    model: options.Model = "demo",
    seed: options.Seed = None,
    guidance: Annotated[Optional[float], typer.Option(help="How strongly the prompt steers.")] = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw a picture."""
    from liquid_mlx import load
    from liquid_mlx.cli.terminal import Status

    with Status(quiet) as status:
        status.show(f"loading {model}")
        liquid = load(model, dtype=dtype)
        status.start("drawing")
        for step in liquid.stream_image(prompt, seed=seed, guidance=guidance):
            status.progress(prompt, step.position, step.total)
        for picture in step.images():
            picture.save(output)
            print(output)
