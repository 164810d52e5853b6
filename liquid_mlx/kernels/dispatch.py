"""Which of the two implementations runs, and how a Metal kernel is made."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import mlx.core as mx

Backend = Literal["metal", "mlx"]


def best_backend(backend: Backend | None) -> Backend:
    """The backend asked for, or the best one for the default device.

    Raises:
        ValueError: the name is unknown.
    """
    if backend is None:
        on_gpu = mx.metal.is_available() and mx.default_device().type == mx.DeviceType.gpu
        return "metal" if on_gpu else "mlx"
    if backend not in ("metal", "mlx"):
        raise ValueError(f"backend {backend!r} is unknown: use 'metal', 'mlx' or None")
    return backend


@cache
def build(
    metal_kernel: Callable[..., Any],
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    source: str,
    header: str,
) -> Callable[..., list[mx.array]]:
    """The kernel, made once. Callers pass `mx.fast.metal_kernel` as it is at the time of the call,
    so that another implementation can stand in for it."""
    return metal_kernel(
        name="liquid_" + name,
        input_names=list(inputs),
        output_names=list(outputs),
        source=source,
        header=header,
    )
