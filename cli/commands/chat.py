"""``liquid chat``: a conversation, with images."""

from __future__ import annotations

import sys

import typer

from liquid_mlx.errors import LiquidError, OutputError, UsageError

from .. import options, together
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
    tensor_parallel: options.TensorParallel = False,
    pipeline_parallel: options.PipelineParallel = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Chat with the model, line by line. /help lists the commands, Ctrl-D ends."""
    asked = sys.stdin.isatty()
    failed = False
    with Status(quiet) as status:
        team = together.start(status, tensor_parallel, pipeline_parallel)
        if team.shares_work:
            raise UsageError("Several processes chat with one model: add --tensor-parallel.")
        liquid = options.load_model(
            model,
            status,
            dtype=dtype,
            team=team,
            adapter=adapter,
            pipeline_parallel=pipeline_parallel,
        )
        sampling = options.Sampling(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
        talk = Conversation(liquid, sampling, status, exif=not no_exif, write=team.first)
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
            except (OutputError, BrokenPipeError):
                raise
            except (LiquidError, OSError) as error:
                status.warn(str(error))
                failed = True
            except KeyboardInterrupt:
                if not asked:
                    raise
                print()
    if failed and not asked:
        raise typer.Exit(3)
