"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        envvar="LIQUID_MODEL",
        help="A converted folder, a Hugging Face repo id, or demo.",
    ),
]
ModelOrPicture = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        envvar="LIQUID_MODEL",
        help="A converted folder, a Hugging Face repo id, or demo.",
        show_default="demo",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", "-m", metavar="N", help="The longest answer.")
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", "--temp", metavar="T", help="0 takes the likeliest token each time."
    ),
]
TopK = Annotated[int, typer.Option("--top-k", metavar="K", help="Only the K likeliest (0: all).")]
TopP = Annotated[
    float, typer.Option("--top-p", metavar="P", help="Only the likeliest that make up P.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="For a temperature above 0."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON: one object, or an array of many.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="A JSON object per line, as they come.")]
NoExif = Annotated[
    bool, typer.Option("--no-exif", help="Do not turn phone photos upright (the reference).")
]


def memory() -> str:
    """The most memory that MLX held."""
    import mlx.core as mx

    return f"peak memory {mx.get_peak_memory() / 1e9:.2f} GB"
