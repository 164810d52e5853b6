"""Which implementation runs, and how a kernel is made."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import mlx.core as mx

from liquid_mlx.device import on_gpu
from liquid_mlx.kernels import cuda

Backend = Literal["metal", "cuda", "mlx"]
MOST_ON_CUDA = 512  # threads: with 1024 each could have no more than 64 registers
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
        if _differentiable.get() or not on_gpu():
            return "mlx"
        return "metal" if mx.metal.is_available() else "cuda" if mx.cuda.is_available() else "mlx"
    if backend not in ("metal", "cuda", "mlx"):
        raise ValueError(f"backend {backend!r} is unknown: use 'metal', 'cuda', 'mlx' or None")
    return backend


def build(
    backend: Backend,
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    source: str,
    header: str,
) -> Callable[..., list[mx.array]]:
    """The kernel of a Metal text, for "metal" or "cuda". MLX's function that makes it is looked up
    at each call, so that another implementation can stand in for it."""
    return _made(_maker(backend), backend, name, inputs, outputs, source, header)


def _maker(backend: Backend) -> Callable[..., Any]:
    return mx.fast.cuda_kernel if backend == "cuda" else mx.fast.metal_kernel


@cache
def _made(
    maker: Callable[..., Any],
    backend: Backend,
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    source: str,
    header: str,
) -> Callable[..., list[mx.array]]:
    if backend == "cuda":
        source, header = cuda.translated(source), cuda.HEADER + cuda.translated(header)
    return maker(
        name="liquid_" + name,
        input_names=list(inputs),
        output_names=list(outputs),
        source=source,
        header=header,
    )


_fitting: dict[tuple[Callable[..., Any], str], int] = {}


def fitting_threads(
    backend: Backend,
    kernel: str,
    wanted: int,
    least: int,
    launch: Callable[[int], list[mx.array]],
) -> int:
    """How many threads a kernel's threadgroup may have: ``wanted``, or half as often as needed.

    The more registers a kernel uses, the fewer threads it may have, and only a launch tells. So
    each kernel is tried once, on little data; the answer is kept.

    Args:
        kernel: what the answer is kept under: name and template, the shapes that decide.
        wanted: a multiple of 32.
        least: below this many, 0 is returned.
        launch: the kernel's outputs with so many threads.

    Returns:
        0 if no number will do, with a warning: the twin must run.
    """
    key = (_maker(backend), kernel)
    if key not in _fitting:
        if backend == "cuda":
            wanted = min(wanted, MOST_ON_CUDA)
        _fitting[key] = _try(kernel, wanted, least, launch)
    return _fitting[key]


def fitted() -> dict[str, int]:
    """The threads of every kernel that was tried, by name; 0: it cannot run."""
    return {kernel: threads for (_, kernel), threads in _fitting.items()}


def _try(name: str, threads: int, least: int, launch: Callable[[int], list[mx.array]]) -> int:
    reason = f"it may not even have {least} threads"
    while threads >= least:
        try:
            mx.eval(launch(threads))
        except ValueError as error:
            if "hread group size" not in str(error):
                raise
            threads = 32 * (threads // 64)
        except RuntimeError as error:  # the compiler does not take the text
            reason = str(error).strip().splitlines()[0]
            break
        else:
            return threads
    warnings.warn(f"The kernel {name} cannot run: {reason}. Plain MLX does its work.", stacklevel=4)
    return 0
