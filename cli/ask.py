"""``liquid ask``: questions about pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from liquid_mlx.cli import options


def ask(
    picture: Annotated[str, typer.Argument(help="A picture file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
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
    """Ask a question about a picture."""
    from liquid_mlx import load
    from liquid_mlx.cli.terminal import Status, clean

    with Status(quiet) as status:
        status.show(f"loading {model}")
        liquid = load(model, dtype=dtype)
        status.show("looking")
        steps = liquid.stream_answer(
            picture,
            question,
            exif=not no_exif,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        for step in steps:
            status.clear()
            print(clean(step.text), end="", flush=True)
        print()
