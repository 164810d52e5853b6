"""GroupNorm followed by SiLU, for activations [B, H, W, C], without transposed copies."""

import math
from collections.abc import Callable

import mlx.core as mx

from liquid_mlx.device import on_gpu
from liquid_mlx.kernels import group_norm_source as source
from liquid_mlx.kernels.dispatch import Backend, best_backend, build, fitting_threads

CHUNK = 1 << 18  # elements that the twin takes at a time on a CPU: temporaries stay in cache
MOST_PLACES = 1024  # of a threadgroup, which one thread each can take
MOST_CHUNKS = 128  # parts that the kernel cuts a picture into
SHORTEST = 64  # pixels in a part
ITEMS = 4  # neighbouring values per thread of the last pass


def group_norm_silu(
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    groups: int,
    eps: float,
    *,
    silu: bool = True,
    backend: Backend | None = None,
) -> mx.array:
    """`silu(group_norm(x))`; `silu=False` leaves the SiLU out.

    A group is C / groups neighbouring channels, as in PyTorch; mean and (biased) variance are taken
    per sample and group, in float32 and in two passes.

    Args:
        x: [B, H, W, C], float32, bfloat16 or float16.
        weight, bias: [C].
        groups: divides C.
        eps: added to the variance.
        backend: "metal", "cuda", "mlx", or None for the best there is; more than 1024
            channels always take "mlx".

    Returns:
        Shape and dtype of `x`.

    Raises:
        ValueError: shapes do not fit.
    """
    if x.ndim != 4 or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(f"shapes do not fit: {x.shape}, {weight.shape}, {bias.shape}")
    if x.shape[-1] % groups:
        raise ValueError(f"{groups} groups do not divide {x.shape[-1]} channels")
    chosen = best_backend(backend)
    if chosen != "mlx" and x.shape[-1] <= MOST_PLACES:
        threads = _threads(chosen, x.shape[-1], groups, x.dtype)
        if threads:
            return _launch(chosen, x, weight, bias, groups, eps, silu, threads)
    return _group_norm_mlx(x, weight, bias, groups, eps, silu)


def _group_norm_mlx(
    x: mx.array, weight: mx.array, bias: mx.array, groups: int, eps: float, silu: bool
) -> mx.array:
    batch, height, width, channels = x.shape
    step = height if on_gpu() else max(1, CHUNK // (batch * width * channels))
    chunks = [slice(start, start + step) for start in range(0, height, step)]
    count = height * width * channels // groups

    def per_group(parts: list[mx.array]) -> mx.array:
        """Sums over width, then height (short sums round less), then a group's channels."""
        sums = mx.concatenate([p.sum(axis=2) for p in parts], axis=1).sum(axis=1)
        sums = sums.reshape(batch, groups, -1).sum(axis=-1, keepdims=True) / count
        spread = mx.broadcast_to(sums, (batch, groups, channels // groups))
        return spread.reshape(batch, 1, 1, channels)

    mean = per_group([x[:, c].astype(mx.float32) for c in chunks])
    variance = per_group([mx.square(x[:, c].astype(mx.float32) - mean) for c in chunks])
    scale = mx.rsqrt(variance + eps) * weight
    shift = bias - mean * scale
    out = mx.zeros_like(x)
    for c in chunks:
        y = x[:, c] * scale + shift
        if silu:
            y = y / (1 + mx.power(math.e, -y))  # as exact as mx.exp; a third of its time on a CPU
        y = y.astype(x.dtype)
        if len(chunks) == 1:
            return y
        out[:, c] = y
    return out


def _threads(backend: Backend, channels: int, groups: int, dtype: mx.Dtype) -> int:
    """Threads that the kernels get on this machine; 0 if they cannot run."""

    def launch(threads: int) -> list[mx.array]:
        x, weight = mx.zeros((1, 1, 1, channels), dtype), mx.zeros((channels,))
        return [_launch(backend, x, weight, weight, groups, 1e-6, True, threads)]

    return fitting_threads(backend, f"group_norm [{channels}] {dtype}", MOST_PLACES, 32, launch)


def _launch(
    backend: Backend,
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    groups: int,
    eps: float,
    silu: bool,
    threads: int,
) -> mx.array:
    batch, height, width, channels = x.shape
    pixels = height * width
    length = max(-(-pixels // MOST_CHUNKS), SHORTEST)
    chunks = -(-pixels // length)
    lanes = MOST_PLACES // channels
    most = min(threads, lanes * channels)

    def kernel(name: str, inputs: tuple[str, ...], output: str, text: str) -> Callable[..., list]:
        return build(backend, name, inputs, (output,), text, source.HEADER)

    sizes = [("C", channels), ("G", groups)]
    moments = kernel("group_moments", ("x",), "moments", source.MOMENTS)(
        inputs=[x],
        template=[*sizes, ("LANES", lanes), ("THREADS", most)],
        grid=(most, chunks, batch),
        threadgroup=(most, 1, 1),
        output_shapes=[(batch, chunks, groups, 2)],
        output_dtypes=[mx.float32],
    )[0]
    inputs = ("moments", "weight", "bias", "eps")
    factors = kernel("group_factors", inputs, "factors", source.FACTORS)(
        inputs=[moments, weight, bias, mx.array([eps])],
        template=[*sizes, ("PIXELS", pixels)],
        grid=(channels, batch, 1),
        threadgroup=(min(channels, threads, 256), 1, 1),
        output_shapes=[(batch, channels, 2)],
        output_dtypes=[mx.float32],
    )[0]
    return kernel("group_apply", ("x", "factors"), "out", source.APPLY)(
        inputs=[x, factors],
        template=[("T", x.dtype), ("C", channels), ("SILU", silu), ("ITEMS", ITEMS)],
        grid=(-(-pixels * channels // ITEMS), batch, 1),
        threadgroup=(min(threads, 256), 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )[0]
