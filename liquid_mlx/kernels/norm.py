"""The residual sum and the RMS norm of it, which stand beside each other twice in every layer."""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx

from liquid_mlx.device import on_gpu
from liquid_mlx.kernels.dispatch import Backend, best_backend, build, fitting_threads
from liquid_mlx.kernels.norm_source import HEADER, SOURCE, THREADS


def add_rms_norm(
    x: mx.array,
    branch: mx.array | None,
    weight: mx.array,
    eps: float,
    *,
    backend: Backend | None = None,
) -> tuple[mx.array, mx.array]:
    """``s = x + branch`` and ``s / sqrt(mean(s^2) + eps) * weight``, the norm in float32.

    Args:
        x: [N, width], float32, bfloat16 or float16.
        branch: like x, or None for nothing to add.
        weight: [width]; may be float32 beside a narrower x.
        eps: added to the mean of the squares.
        backend: "metal", "cuda", "mlx", or None for the best there is.

    Returns:
        The sum, rounded to x's dtype before it is normalized, and the norm; both like x.
    """
    chosen = best_backend(backend)
    if chosen != "mlx" and _runs(chosen, x.shape[1], x.dtype):
        return _launch(chosen, x, branch, weight, eps)
    total = x if branch is None else x + branch
    return total, _rms_norm(total, weight, eps)


def _rms_norm(x: mx.array, weight: mx.array, eps: float) -> mx.array:
    if on_gpu():
        return mx.fast.rms_norm(x, weight, eps).astype(x.dtype)
    # The CPU has no kernel, and MLX would take a dozen primitives: here they are few.
    y = x.astype(mx.float32)
    rows, width = x.shape
    mean = mx.addmm(_column(eps, rows), y * y, _column(1 / width, width))
    return (y * mx.rsqrt(mean) * weight).astype(x.dtype)


def _launch(
    backend: Backend, x: mx.array, branch: mx.array | None, weight: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    rows, width = x.shape
    adds = branch is not None
    kernel = build(
        backend,
        "add_rms_norm" if adds else "rms_norm",
        ("x", "branch", "weight", "eps") if adds else ("x", "weight", "eps"),
        ("total", "norm") if adds else ("norm",),
        SOURCE[adds],
        HEADER,
    )
    inputs = [x, *([] if branch is None else [branch]), weight, _column(eps, 1)]
    outputs = kernel(
        inputs=inputs,
        template=[("T", x.dtype), ("WIDTH", width)],
        grid=(THREADS, rows, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[x.shape] * (1 + adds),
        output_dtypes=[x.dtype] * (1 + adds),
    )
    return (outputs[0], outputs[1]) if adds else (x, outputs[0])


def _runs(backend: Backend, width: int, dtype: mx.Dtype) -> bool:
    """Whether this machine takes the kernel; its sums want this number of threads."""

    def launch(_threads: int) -> list[mx.array]:
        x = mx.zeros((1, width), dtype)
        return list(_launch(backend, x, x, mx.zeros(width), 1e-6))

    name = f"add_rms_norm [{width}] {dtype}"
    return fitting_threads(backend, name, THREADS, THREADS, launch) > 0


@lru_cache(maxsize=64)
def _column(value: float, height: int) -> mx.array:
    """A constant column [height, 1]."""
    column = mx.full((height, 1), value)
    mx.eval(column)
    return column
