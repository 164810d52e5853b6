"""``liquid chat``: a conversation."""

from __future__ import annotations

import sys

from liquid_mlx.cli import options


def chat(
    model: options.Model = "demo",
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Talk with the model, a line at a time; Ctrl-D ends."""
    from liquid_mlx import load
    from liquid_mlx.cli.terminal import Status, clean

    with Status(quiet) as status:
        status.show(f"loading {model}")
        liquid = load(model, dtype=dtype)
    messages: list[dict[str, str]] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        reply = ""
        for step in liquid.stream_chat(
            messages,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        ):
            reply += step.text
            print(clean(step.text), end="", flush=True)
        print()
        messages.append({"role": "assistant", "content": reply or "."})
