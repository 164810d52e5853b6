"""``liquid chat``: a conversation, with images."""

from __future__ import annotations

import sys

import typer

from liquid_mlx.errors import LiquidError

from .. import options
from ..talk.conversation import Conversation
from ..terminal import Status


def chat(
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
) -> None:
    """Chat with the model, line by line. /help lists the commands, Ctrl-D ends."""
    asked = sys.stdin.isatty()
    failed = False
    with Status(quiet) as status:
        liquid = options.load_model(model, status, dtype=dtype, adapter=adapter)
        sampling = options.Sampling(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
        talk = Conversation(liquid, sampling, status, exif=not no_exif)
        if asked:
            import readline  # noqa: F401  (gives input() its history and its keys)

            status.say(f"{model}. /help lists the commands, Ctrl-D ends.")
        while True:
            try:
                line = input("> " if asked else "").strip()
            except EOFError:
                if asked:
                    print()
                break
            except UnicodeDecodeError:
                status.warn("The line is not UTF-8 text.")
                failed = True
                continue
            if line in ("/quit", "/exit"):
                break
            try:
                talk.take(line)
            except (LiquidError, OSError) as error:
                status.warn(str(error))
                failed = True
            except KeyboardInterrupt:
                if not asked:
                    raise
                print()
    if failed and not asked:
        raise typer.Exit(3)
