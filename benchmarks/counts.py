"""Primitives and bytes of one decode step beside mlx-lm's: ``python -m benchmarks.counts [MODEL]``.

From the code of one step to that of the next, sampler included. Primitives are counted in the graph
that MLX would evaluate; what it has compiled into one counts once. Bytes are counted in a trace:
views (slices, transpositions, broadcasts) read nothing, a lookup reads its rows, an update in place
what it writes.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx

from benchmarks.loops.geometry import Model, named
from liquid_mlx.generation.image import Draw, Noise, begin, sample_codes
from liquid_mlx.generation.prefill import Prefix
from liquid_mlx.memory import kv_bytes, weight_bytes
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import ImageParams

PROMPT = 16
VIEWS = {
    "AsStrided",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unflatten",
}


def graph(array: mx.array) -> Counter[str]:
    """How often each primitive stands in an array's unevaluated graph."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.dot"
        mx.export_to_dot(str(path), array)
        return Counter(re.findall(r'label ?= ?"([^"]*)", shape=rectangle', path.read_text()))


def trace(function: Callable[[mx.array], mx.array], ids: mx.array) -> list[dict[str, Any]]:
    """The primitives that a function of ids evaluates, in order."""
    seen: list[dict[str, Any]] = []
    mx.export_function(seen.append, function, ids)
    return [event for event in seen if event["type"] == "primitive"]


def bytes_read(primitives: list[dict[str, Any]]) -> int:
    """Bytes that primitives read from memory."""
    sizes: dict[str, int] = {}  # of views: what they read when they are read

    def full(array: tuple) -> int:
        return math.prod(array[1]) * array[2].size

    def cost(array: tuple) -> int:
        return sizes.get(array[0], full(array))

    total = 0
    for primitive in primitives:
        name, inputs, outputs = (primitive[key] for key in ("name", "inputs", "outputs"))
        if name == "Broadcast":
            sizes[outputs[0][0]] = cost(inputs[0])
        elif name in VIEWS:
            sizes.update({out[0]: min(cost(inputs[0]), full(out)) for out in outputs})
        elif name == "Gather":
            total += full(outputs[0])
        elif name == "SliceUpdate":
            total += cost(inputs[1])
        else:
            total += sum(map(cost, inputs))
    return total


def our_step(backbone, head, offset: int, total: int) -> tuple[Callable, mx.array]:
    """A step of this project in the middle of a picture, with guidance."""
    caches = [KVCache.empty(backbone.config, 1, length, mx.float32) for length in (PROMPT, 3)]
    for cache in caches:
        cache.offset = cache.capacity
    hidden = mx.zeros((1, 1, backbone.config.hidden_size))
    codes = head(hidden).shape[-1]
    draw = Draw([0], ImageParams())
    cache, _ = begin([Prefix(cache, hidden) for cache in caches], draw, total)
    noise = Noise(draw, total)
    cache.offset = PROMPT + total // 2
    mx.eval(noise.rows(0, 1, codes), cache.layers)
    kept = list(cache.layers), cache.offset

    def step(code: mx.array) -> mx.array:
        cache.layers, cache.offset = [mx.array(a) for a in kept[0]], kept[1]
        mx.eval(cache.layers)  # evaluated, so that their copies are not counted
        ids = mx.tile(code + offset, 2)[:, None]
        with patch.object(mx, "async_eval"):  # on the CPU each layer is sent off when it is built
            hidden = backbone(ids, cache)
        return sample_codes(head(hidden[:, -1]), noise.rows(0, 1, codes), draw)

    return step, mx.array([0], mx.uint32)


def mlx_lm_step(model: Model) -> tuple[Callable, mx.array]:
    """The same step of the plain mlx-lm loop."""
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.sample_utils import make_sampler

    from benchmarks.loops.mlx_lm import Loop

    loop = Loop(model)
    cache = make_prompt_cache(loop.model)
    mx.eval(loop.model(mx.zeros((2, 1), mx.int32), cache=cache))
    for layer in cache:  # as if the prompt and half of the picture had been through
        layer.offset = PROMPT + model.total // 2
        rows, heads, _, width = layer.keys.shape
        room = -(-(layer.offset + 1) // layer.step) * layer.step
        layer.keys, layer.values = (mx.zeros((rows, heads, room, width)) for _ in range(2))
    top_k = 4096 if model.config["vocab_size"] > 4096 else 0
    sampler = make_sampler(temp=0.99, top_p=0.96, top_k=top_k)
    kept = [(layer.keys, layer.values, layer.offset) for layer in cache]

    def step(code: mx.array) -> mx.array:
        for layer, state in zip(cache, kept, strict=True):
            layer.keys, layer.values, layer.offset = (
                mx.array(state[0]),
                mx.array(state[1]),
                state[2],
            )
            mx.eval(layer.keys, layer.values)
        ids = mx.tile(code + model.image_offset, 2)[:, None]
        return loop.step(ids, cache, 7.0, sampler)

    return step, mx.array([0], mx.uint32)


def expected_bytes(model: Model, backbone) -> int:
    """Weights with the image rows of the head alone, keys and values: what a step must read."""
    table = weight_bytes(backbone.model.embed_tokens, mx.float32)
    weights = weight_bytes(backbone, mx.float32) - table
    weights += table * model.codes // backbone.config.vocab_size
    length = PROMPT + model.total // 2 + 1
    return weights + kv_bytes(backbone.config, 2, length, mx.float32)


def main() -> None:
    from benchmarks.loops.liquid import Loop

    name = sys.argv[1] if len(sys.argv) > 1 else "mid"
    model = named(name)
    loop = Loop(model)
    step, code = our_step(loop.backbone, loop.head, loop.offset, model.total)
    ours, our_trace = graph(step(code)), trace(step, code)
    step, code = mlx_lm_step(model)
    theirs, their_trace = graph(step(code)), trace(step, code)
    print(f"{name}: one decode step in mid-picture, guidance on, on {mx.default_device()}\n")
    print("| | liquid-mlx | mlx-lm | ratio |\n|---|---|---|---|")
    views = VIEWS | {"Broadcast"}
    for title, counts in (
        ("primitives", [sum(g.values()) for g in (ours, theirs)]),
        (
            "of them not views",
            [sum(n for p, n in g.items() if p not in views) for g in (ours, theirs)],
        ),
        ("MB read", [round(bytes_read(t) / 1e6, 2) for t in (our_trace, their_trace)]),
    ):
        print(f"| {title} | {counts[0]} | {counts[1]} | {counts[0] / counts[1]:.3f} |")
    read, needed = bytes_read(our_trace), expected_bytes(model, loop.backbone)
    print(f"\nweights (image rows), keys and values: {needed / 1e6:.2f} MB")
    print(f"read / needed = {read / needed:.4f}")
    print("\nmost frequent:", dict(ours.most_common(12)))


if __name__ == "__main__":
    main()
