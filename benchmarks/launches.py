"""Kernels that Metal would launch for one decode step: ``python -m benchmarks.launches``.

The step is traced on any machine as a GPU would be given it, and each primitive counted by what
its ``eval_gpu`` in MLX's sources (0.32.2) does. Views launch nothing: transpose, slice, split,
broadcast (backend/common/common.cpp, slicing.cpp) and reshape, where strides allow it
(``prepare_reshape``). Everything else launches one kernel, and one copy for each input whose layout
it does not take:

- custom kernels, quantized and plain matrix products: what is not row-contiguous
  (backend/metal/custom_kernel.cpp, quantized.cpp, matmul.cpp)
- rope: [B, H, T, D] that is neither row-contiguous nor [B, T, H, D] transposed (metal/rope.cpp)
- attention of up to 8 queries: queries that are not row-contiguous, keys, values and masks whose
  batch and head axes do not lie behind each other (metal/scaled_dot_product_attention.cpp)
- concatenation: one copy for each part (gpu/primitives.cpp)

A slice update in place is one; that its array may be overwritten is taken for granted. On Max and
Ultra chips attention over 1024 slots and more takes one kernel more, which is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from benchmarks.loops.geometry import gemma
from liquid_mlx.config import BackboneConfig
from liquid_mlx.generation.image import Draw, begin, sample_codes
from liquid_mlx.generation.prefill import Prefix
from liquid_mlx.kernels import dispatch
from liquid_mlx.nn import ops
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.linear import Embedding, Linear, Quantization
from liquid_mlx.params import ImageParams

CODES, TEXT = 512, 1536
LENGTHS = (16, 3)  # of the prompt and the unconditional prompt
Strides = tuple[int, ...]
Step = tuple[Callable[[mx.array], mx.array], mx.array]


def dense(shape: Strides) -> Strides:
    """The strides of a row-contiguous array."""
    strides, size = [], 1
    for side in reversed(shape):
        strides.append(size)
        size *= side
    return tuple(reversed(strides))


def is_dense(shape: Strides, strides: Strides) -> bool:
    return all(side == 1 or s == d for side, s, d in zip(shape, strides, dense(shape), strict=True))


def reshaped(shape: Strides, strides: Strides, to: Strides) -> Strides | None:
    """Strides of a reshaped view, or None if it takes a copy."""
    if is_dense(shape, strides):
        return dense(to)
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n > 1]
    out: list[int] = []
    for side in to:  # each new axis is one old axis, or is cut from the front of one
        if side == 1:
            out.append(0)
            continue
        while len(axes) > 1 and axes[0][1] == axes[1][0] * axes[1][1] and axes[0][0] != side:
            (n, _), (m, s), *rest = axes
            axes = [(n * m, s), *rest]
        n, s = axes.pop(0)
        if n % side:
            return None
        out.append(s * (n // side))
        if n > side:
            axes.insert(0, (n // side, s))
    return tuple(out)


def _rope_copies(shape: Strides, strides: Strides) -> bool:
    _, heads, length, width = shape
    transposed = (length * heads * width, width, heads * width)
    return not is_dense(shape, strides) and strides[:3] != transposed


def _batch_and_heads_apart(shape: Strides, strides: Strides) -> bool:
    one = shape[0] == 1 or shape[1] == 1
    return strides[-1] != 1 or not (one or strides[0] == strides[1] * shape[1])


class Launches:
    """Counts kernels while it follows the layout of every array of a trace."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._strides: dict[str, Strides] = {}

    def add(self, event: dict[str, Any]) -> None:
        if event["type"] != "primitive":
            return
        name, inputs, outputs = event["name"], event["inputs"], event["outputs"]
        laid = [(a[1], self._strides.get(a[0], dense(a[1]))) for a in inputs]
        view = self._view(name, event["arguments"], laid, [out[1] for out in outputs])
        for i, out in enumerate(outputs):
            self._strides[out[0]] = dense(out[1]) if view is None else view[i]
        if view is not None:
            return
        if name == "CustomKernel":
            name = event["arguments"][0].removeprefix("custom_kernel_").removeprefix("liquid_")
            name = name.split("__")[0]
        if name == "Concatenate":
            self.counts["copy: Concatenate"] += len(inputs)
            return
        self.counts[name] += 1
        for number, (shape, strides) in enumerate(laid):
            if self._copies(name, number, shape, strides):
                self.counts[f"copy: {name}"] += 1

    @staticmethod
    def _view(
        name: str, arguments: list, laid: list[tuple[Strides, Strides]], shapes: list[Strides]
    ) -> list[Strides] | None:
        """Strides of the outputs if this primitive only looks at its input in another way."""
        if not laid:
            return None
        shape, strides = laid[0]
        if name == "Transpose":
            return [tuple(strides[axis] for axis in arguments[0])]
        if name == "Broadcast":
            lead = len(shapes[0]) - len(shape)
            kept = [0 if n == 1 else s for n, s in zip(shape, strides, strict=True)]
            return [(0,) * lead + tuple(kept)]
        if name == "Slice":
            return [tuple(s * step for s, step in zip(strides, arguments[2], strict=True))]
        if name == "Split":
            return [strides] * len(shapes)
        if name in ("Reshape", "Flatten", "Unflatten", "ExpandDims", "Squeeze"):
            to = reshaped(shape, strides, shapes[0])
            return None if to is None else [to]
        return None

    @staticmethod
    def _copies(name: str, number: int, shape: Strides, strides: Strides) -> bool:
        if name.startswith("mlx_rope"):
            return number == 0 and _rope_copies(shape, strides)
        if name.startswith("mlx_attention"):
            if number == 0:
                return not is_dense(shape, strides)
            return _batch_and_heads_apart(shape, strides)
        if name.startswith("mlx_"):
            return False
        if name in ("QuantizedMatmul", "Matmul", "AddMM"):
            return number < 2 and not is_dense(shape, strides)
        # Ours: all inputs are made row-contiguous.
        return name.startswith(("rotate", "add_rms", "rms_norm", "sample")) and not is_dense(
            shape, strides
        )


def _opaque(name: str) -> Callable[..., mx.array]:
    """Something that leaves one primitive of this name in a trace: shaped as its first input."""

    def call(*arrays: mx.array, **settings: Any) -> mx.array:
        inputs = [a for a in (*arrays, settings.get("mask")) if isinstance(a, mx.array)]
        shape = mx.broadcast_shapes(*(a.shape for a in inputs)) if name == "island" else None
        kernel = mx.fast.metal_kernel(
            name=f"mlx_{name}_",
            input_names=[f"x{i}" for i in range(len(inputs))],
            output_names=["y"],
            source="",
        )
        return kernel(
            inputs=inputs,
            grid=(1, 1, 1),
            threadgroup=(1, 1, 1),
            output_shapes=[shape or inputs[0].shape],
            output_dtypes=[inputs[0].dtype],
        )[0]

    return call


def _rms_norm(x: mx.array, weight: mx.array, eps: float) -> mx.array:
    dtype = mx.result_type(x, weight)
    return _opaque("rms_norm")(x.astype(dtype), weight)


def _dequantize(packed: mx.array, scales: mx.array, *_: Any, bits: int, **__: Any) -> mx.array:
    shape = (*packed.shape[:-1], packed.shape[-1] * 32 // bits)
    return _opaque("dequantize")(mx.broadcast_to(scales[..., :1], shape), packed)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Lets models build their GPU step; nothing of it may be evaluated."""
    with ExitStack() as stack:
        for owner, name, stand_in in (
            (mx, "default_device", lambda: mx.gpu),
            (mx.metal, "is_available", lambda: True),
            (mx, "async_eval", lambda *_: None),
            (mx, "contiguous", _opaque("contiguous")),
            (mx, "dequantize", _dequantize),
            (nn, "gelu", _opaque("island")),
            (nn, "gelu_approx", _opaque("island")),
            (mx.fast, "rms_norm", _rms_norm),
            (mx.fast, "rope", lambda x, *_, **__: _opaque("rope")(x)),
            (mx.fast, "scaled_dot_product_attention", _opaque("attention")),
            (dispatch, "_fitting", {}),
            (dispatch, "_try", lambda _, wanted, *__: wanted),
        ):
            stack.enter_context(patch.object(owner, name, stand_in))
        yield


def our_step(layers: int) -> Step:
    """From a code to the next, with guidance, in bfloat16 with 4-bit matrices."""
    config = BackboneConfig.from_dict(gemma(TEXT + CODES, 256, 512, layers, 4, 64))
    ops.compiled.cache_clear()
    with patch.object(mx, "compile", lambda *_, **__: _opaque("island")):
        backbone = Backbone(config)
    ops.compiled.cache_clear()
    backbone.dtype = mx.bfloat16
    for module in backbone.modules():
        if isinstance(module, Linear):
            module.quantize(Quantization(8 if isinstance(module, Embedding) else 4, 64))
    backbone.update(
        tree_map(
            lambda a: a if a.dtype == mx.uint32 else a.astype(mx.bfloat16), backbone.parameters()
        )
    )
    backbone.fuse()
    head = backbone.head(TEXT, TEXT + CODES, exact=True)
    caches = [KVCache.empty(config, 1, length, mx.bfloat16) for length in LENGTHS]
    for cache in caches:
        cache.offset = cache.capacity
    hidden = mx.zeros((1, 1, config.hidden_size), mx.bfloat16)
    draw = Draw([0], ImageParams(guidance=7.0, temperature=0.99, top_k=400, top_p=0.96))
    cache, _ = begin([Prefix(cache, hidden) for cache in caches], draw, 64)
    noise = mx.full((1, CODES), 0.5)
    assert cache.padding is not None
    mx.eval(cache.layers, cache.padding, cache._filled, noise)
    kept = list(cache.layers)

    def step(code: mx.array) -> mx.array:
        cache.layers, cache.offset = list(kept), LENGTHS[0]
        hidden = backbone(mx.tile(code + TEXT, 2)[:, None], cache)
        return sample_codes(head(hidden[:, -1]), noise, draw)

    return step, mx.array([0], mx.uint32)


def mlx_lm_step(layers: int) -> Step:
    """The same of mlx-lm's model with its plain cache, and without a sampler."""
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import _get_classes

    settings = gemma(TEXT + CODES, 256, 512, layers, 4, 64)
    model_class, arguments = _get_classes(settings)
    model = model_class(arguments.from_dict(settings))
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, 64, 4)
    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((2, LENGTHS[0]), mx.int32), cache=cache), model.parameters())
    kept = [(layer.keys, layer.values, layer.offset) for layer in cache]
    mx.eval([state[:2] for state in kept])

    def step(code: mx.array) -> mx.array:
        for layer, state in zip(cache, kept, strict=True):
            layer.keys, layer.values, layer.offset = state
        return model(mx.tile(code + TEXT, 2)[:, None], cache=cache)[:, -1].astype(mx.float32)

    return step, mx.array([0], mx.uint32)


def count(build: Callable[[int], Step], layers: int) -> Counter[str]:
    """Launches of a step of a model with so many layers, by kernel."""
    step, code = build(layers)
    launches = Launches()
    with as_on_a_gpu():
        mx.export_function(launches.add, step, code)
    return launches.counts


def per_layer(build: Callable[[int], Step]) -> tuple[Counter[str], Counter[str]]:
    """(of one layer, outside of the layers)."""
    two, three = count(build, 2), count(build, 3)
    layer = three - two
    return layer, two - layer - layer


def main() -> None:
    print("kernels that Metal would launch for a step with guidance, bfloat16, 4 bits\n")
    for name, build in (("liquid-mlx", our_step), ("mlx-lm, without sampler", mlx_lm_step)):
        layer, rest = per_layer(build)
        print(f"{name}: {layer.total()} a layer, {rest.total()} besides")
        print(f"  a layer: {dict(layer.most_common())}\n  besides: {dict(rest.most_common())}\n")


if __name__ == "__main__":
    main()
