"""What MLX fuses on a GPU, and the same in few primitives for the CPU.

The CPU has no kernels for these, and MLX would take a dozen primitives for each. In a small model a
primitive costs more than its arithmetic, so here they are written out with as few as will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import mlx.core as mx

from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu

FEW = 8  # queries up to which MLX's attention on Metal reads keys and values once for all


@cache
def compiled(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """Compile an element-wise island on the GPU; MLX's CPU compiler would start a C++ compiler."""
    island = mx.compile(function, shapeless=True)
    return lambda *xs: (island if on_gpu() else function)(*xs)


def gelu_tanh(x: mx.array) -> mx.array:
    """The tanh approximation of GELU, written as ``x * sigmoid(2 u)``; computed in float32."""
    y = x.astype(mx.float32)
    u = y * (1.5957691216057308 + 0.07135481627159996 * (y * y))
    return (y * mx.sigmoid(u)).astype(x.dtype)


def silu(x: mx.array) -> mx.array:
    """``x * sigmoid(x)``."""
    return x * mx.sigmoid(x)


def softcap(x: mx.array, cap: mx.array) -> mx.array:
    """Bound x by ``cap * tanh(x / cap)``."""
    return mx.tanh(x / cap) * cap


def _has_kernel(cap: float | None) -> bool:
    """Whether MLX has fused attention for this: on a GPU, without a cap."""
    return cap is None and on_gpu()


def attention_mask(
    visible: mx.array | None, shape: tuple[int, int, int, int], dtype: mx.Dtype, cap: float | None
) -> mx.array | None:
    """What `attention` adds or hides, made once for the layers of a step.

    Args:
        visible: from `KVCache.visible`: None if every token sees all before it.
        shape: rows, heads, new tokens, and slots up to the last of them: [B, H, T, S].
        dtype: of the scores.
        cap: see `attention`.
    """
    _, _, length, stop = shape
    if _has_kernel(cap):
        if visible is None or length > FEW:
            return visible
        # Metal copies a mask that is broadcast over rows and heads, in each layer.
        return mx.contiguous(mx.broadcast_to(visible, shape))
    if visible is None and length == 1:
        return mx.zeros((1, 1), dtype)
    if visible is None:
        visible = mx.arange(stop - length, stop)[:, None] >= mx.arange(stop)[None]
    return mx.where(visible, mx.array(0, dtype), mx.array(mx.finfo(dtype).min, dtype))


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | None,
    cap: float | None = None,
) -> mx.array:
    """Grouped-query attention: [B, H, T, D] from queries [B, H, T, D], keys, values [B, K, S, D].

    Args:
        scale: of the products of queries and keys.
        mask: from `attention_mask`.
        cap: bound scores by ``cap * tanh(score / cap)`` (Gemma 2), which no kernel of MLX does.
    """
    if _has_kernel(cap):
        causal = "causal" if mask is None and queries.shape[2] > 1 else mask
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=causal)
    assert mask is not None
    rows, heads, length, width = queries.shape
    groups, stop = keys.shape[1], keys.shape[2]
    # Heads that share keys are rows of one product.
    grouped, transposed = queries.reshape(rows, groups, -1, width), keys.swapaxes(-1, -2)
    if length > 1:
        mask = mx.broadcast_to(mask, (rows, heads, length, stop))
        mask = mask.reshape(rows, groups, -1, stop)
    if cap is None:
        scores = mx.addmm(mask, grouped, transposed, alpha=scale)
    else:
        scores = compiled(softcap)(grouped @ transposed * scale, mx.array(cap, keys.dtype)) + mask
    weights = mx.softmax(scores, axis=-1, precise=True)
    return (weights @ values).reshape(queries.shape)


def rope_freqs(config: BackboneConfig) -> mx.array:
    """Tokens per radian of each pair, float32 [head_dim / 2]: 1 / `inv_freq` of transformers."""
    scaling = config.rope_scaling or {}
    exponents = mx.arange(0, config.head_dim, 2, dtype=mx.float32) / config.head_dim
    freqs: mx.array = config.rope_theta**exponents
    if scaling.get("rope_type") == "linear":
        return freqs * float(scaling["factor"])
    if scaling.get("rope_type") == "llama3":
        return _stretch_long(freqs, scaling)
    return freqs


def _stretch_long(freqs: mx.array, scaling: Mapping[str, Any]) -> mx.array:
    """Llama 3.1's scaling: long periods are stretched, short ones kept."""
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, length = (float(scaling[name]) for name in names)
    rotations = length / (2 * math.pi * freqs)
    smooth = mx.clip((rotations - low) / (high - low), 0, 1)
    return freqs / ((1 - smooth) / factor + smooth)
