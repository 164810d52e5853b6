"""What MLX fuses on a GPU, and the same in few primitives for the CPU.

The CPU has no kernels for these, and MLX would take a dozen primitives for each. In a small model a
primitive costs more than its arithmetic, so here they are written out with as few as will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from typing import Any

import mlx.core as mx

from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu

Rotate = Callable[[mx.array], mx.array]  # rotates queries or keys [B, H, T, D] by their positions


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


def rms_norm(x: mx.array, weight: mx.array, eps: float) -> mx.array:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis of x [N, width], in float32."""
    if on_gpu():
        return mx.fast.rms_norm(x, weight, eps).astype(x.dtype)
    y = x.astype(mx.float32)
    rows, width = x.shape
    mean = mx.addmm(_column(eps, rows), y * y, _column(1 / width, width))
    return (y * mx.rsqrt(mean) * weight).astype(x.dtype)


@lru_cache(maxsize=64)
def _column(value: float, height: int) -> mx.array:
    """A constant column [height, 1]."""
    column = mx.full((height, 1), value)
    mx.eval(column)
    return column


def _has_kernel(cap: float | None) -> bool:
    """Whether MLX has fused attention for this: on a GPU, without a cap."""
    return cap is None and on_gpu()


def attention_mask(
    mask: mx.array | str | None, length: int, stop: int, dtype: mx.Dtype, cap: float | None
) -> mx.array | str | None:
    """A mask (see `KVCache.mask`) as `attention` wants it; made once for the layers of a step."""
    if _has_kernel(cap):
        return mask
    if mask is None:
        return mx.zeros((1, 1), dtype)
    if isinstance(mask, str):
        mask = mx.arange(stop - length, stop)[:, None] >= mx.arange(stop)[None]
    return mx.where(mask, mx.array(0, dtype), mx.array(mx.finfo(dtype).min, dtype))


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None,
    cap: float | None = None,
) -> mx.array:
    """Grouped-query attention: [B, H, T, D] from queries [B, H, T, D], keys, values [B, K, S, D].

    Args:
        scale: of the products of queries and keys.
        mask: from `attention_mask`.
        cap: bound scores by ``cap * tanh(score / cap)`` (Gemma 2), which no kernel of MLX does.
    """
    if _has_kernel(cap):
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    assert isinstance(mask, mx.array)
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


class Rope:
    """Rotary positions, half-split (Su et al., arXiv 2104.09864), for all layers of a step."""

    def __init__(self, config: BackboneConfig):
        self._freqs = rope_freqs(config)
        mx.eval(self._freqs)

    def at(self, start: int | mx.array, length: int) -> Rotate:
        """For ``length`` tokens from position ``start``: one for all rows, or one per row [B]."""
        if on_gpu():
            return partial(
                mx.fast.rope,
                dims=2 * self._freqs.size,
                traditional=False,
                base=None,
                scale=1.0,
                freqs=self._freqs,
                offset=start,
            )
        # The CPU would compute sines and cosines anew in every layer.
        first = start[:, None, None, None] if isinstance(start, mx.array) else start
        angles = (first + mx.arange(length)[:, None]) / self._freqs
        cos, sin = mx.cos(angles), mx.sin(angles)
        same, other = mx.concatenate([cos, cos], -1), mx.concatenate([-sin, sin], -1)

        def rotate(x: mx.array) -> mx.array:
            low, high = mx.split(x, 2, axis=-1)
            return (x * same + mx.concatenate([high, low], -1) * other).astype(x.dtype)

        return rotate


def rope_freqs(config: BackboneConfig) -> mx.array:
    """Tokens per radian of each pair, float32 [head_dim / 2]: 1 / `inv_freq` of transformers."""
    scaling = config.rope_scaling or {}
    exponents = mx.arange(0, config.head_dim, 2, dtype=mx.float32) / config.head_dim
    freqs = config.rope_theta**exponents
    if scaling.get("rope_type") == "linear":
        return freqs * scaling["factor"]
    if scaling.get("rope_type") == "llama3":
        return _stretch_long(freqs, scaling)
    return freqs


def _stretch_long(freqs: mx.array, scaling: Mapping[str, Any]) -> mx.array:
    """Llama 3.1's scaling: long periods are stretched, short ones kept."""
    factor, low, high = (
        scaling[name] for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    rotations = scaling["original_max_position_embeddings"] / (2 * math.pi * freqs)
    smooth = mx.clip((rotations - low) / (high - low), 0, 1)
    return freqs / ((1 - smooth) / factor + smooth)
