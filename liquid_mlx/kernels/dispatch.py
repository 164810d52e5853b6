"""Which of the two implementations runs, and how a Metal kernel is made."""

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import mlx.core as mx

from liquid_mlx.device import on_gpu

Backend = Literal["metal", "mlx"]
_differentiable: ContextVar[bool] = ContextVar("differentiable", default=False)


@contextmanager
def differentiable() -> Iterator[None]:
    """Within it no kernel is the best backend: gradients flow through the twins in plain MLX."""
    before = _differentiable.set(True)
    try:
        yield
    finally:
        _differentiable.reset(before)


def best_backend(backend: Backend | None) -> Backend:
    """The backend asked for, or the best one for the default device.

    Raises:
        ValueError: the name is unknown.
    """
    if backend is None:
        if _differentiable.get():
            return "mlx"
        return "metal" if mx.metal.is_available() and on_gpu() else "mlx"
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


_fitting: dict[Hashable, int] = {}


def fitting_threads(
    kernel: Hashable, wanted: int, least: int, launch: Callable[[int], list[mx.array]]
) -> int:
    """How many threads a kernel's threadgroup may have: ``wanted``, or half as often as needed.

    The more registers a kernel uses, the fewer threads Apple's compiler lets it have, and only a
    launch tells. So each kernel is tried once, on little data; the answer is kept.

    Args:
        kernel: what the answer is kept under: name and template, the shapes that decide.
        wanted: a multiple of 32.
        least: below this many, 0 is returned.
        launch: the kernel's outputs with so many threads.

    Returns:
        0 if no number will do, with a warning: the twin must run.
    """
    key = (mx.fast.metal_kernel, kernel)
    if key not in _fitting:
        _fitting[key] = _try(str(kernel), wanted, least, launch)
    return _fitting[key]


def _try(name: str, threads: int, least: int, launch: Callable[[int], list[mx.array]]) -> int:
    reason = f"it may not even have {least} threads"
    while threads >= least:
        try:
            mx.eval(launch(threads))
        except ValueError as error:
            if "hread group size" not in str(error):
                raise
            threads = 32 * (threads // 64)
        except RuntimeError as error:  # Apple's compiler does not take the text
            reason = str(error).strip().splitlines()[0]
            break
        else:
            return threads
    warnings.warn(
        f"Metal kernel {name} cannot run: {reason}. Plain MLX does its work.", stacklevel=4
    )
    return 0
