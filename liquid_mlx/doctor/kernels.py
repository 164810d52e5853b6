"""Arithmetic and kernels on this device against MLX's CPU backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from liquid_mlx.device import on_gpu
from liquid_mlx.doctor.checks import Check, SkippedError, Subject, WrongError
from liquid_mlx.kernels import Rotary, add_rms_norm, group_norm_silu, sample_codes
from liquid_mlx.kernels.dispatch import Backend, best_backend, fitted

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
SETTINGS: tuple[dict[str, Any], ...] = (
    {"guidance": 7.0, "temperature": 0.99, "top_k": 300, "top_p": 0.96},
    {"guidance": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 0.9},
    {"guidance": 3.0, "temperature": 0.0, "top_k": 0, "top_p": 1.0},
)
ROWS = 8  # drawn with each of the settings
EXACT = 2e-5  # relative error of a float32 convolution: 5e-6 as Winograd, 1e-2 with TF32


def precision(_: Subject) -> list[Check]:
    """float32 is float32: with TF32, or a Winograd transform in it, other codes would come out."""

    def compare(compute: Callable[[], mx.array]) -> str:
        if not on_gpu():
            raise SkippedError("there is no GPU that could round otherwise")
        here = compute()
        with mx.stream(mx.cpu):
            error = _apart(here, compute())
        if error > EXACT:
            raise WrongError(
                f"relative error {error:.1e}: not float32 (is MLX_ENABLE_TF32 set to 1?)"
            )
        return f"relative error {error:.1e}"

    def product() -> mx.array:
        return _normal(256, 512) @ _normal(512, 256, seed=1)

    def convolution() -> mx.array:
        weight = _normal(128, 3, 3, 128, seed=1) / 34
        return mx.conv2d(_normal(1, 48, 48, 128), weight, padding=1)

    return [
        Check("float32", "matrix product", partial(compare, product)),
        Check("float32", "3x3 convolution", partial(compare, convolution)),
    ]


def kernels(subject: Subject) -> list[Check]:
    """Every kernel, compiled and run on this device, against its twin on the CPU."""
    checks = []
    for name, check in (
        ("sampler", _sampler),
        ("group norm", _group_norm),
        ("residual sum and norm", _norm),
        ("rotation", _rotation),
    ):
        for dtype in DTYPES:
            checks.append(
                Check("kernels", f"{name}, {dtype}", partial(_kernel, check, subject, dtype))
            )
    return checks


def _kernel(check: Callable[[Subject, Backend, mx.Dtype], str], subject: Subject, name: str) -> str:
    backend = best_backend(subject.backend)
    if backend == "mlx":
        raise SkippedError("neither Metal nor CUDA here: plain MLX does the kernels' work")
    before = fitted()
    found = check(subject, backend, DTYPES[name])
    new = {kernel: threads for kernel, threads in fitted().items() if kernel not in before}
    refused = [kernel for kernel, threads in new.items() if not threads]
    if refused:
        raise WrongError(f"{', '.join(refused)} cannot run here: plain MLX does the work")
    threads = ", ".join(f"{kernel} {threads}" for kernel, threads in new.items())
    return found + (f"; threads: {threads}" if threads else "")


def _sampler(subject: Subject, backend: Backend, dtype: mx.Dtype) -> str:
    differ = rows = 0
    for n in subject.codes:
        logits, other = (3 * _normal(ROWS, n, seed=s).astype(dtype) for s in (n, n + 1))
        noise = mx.random.uniform(0.001, 0.999, (ROWS, n), key=mx.random.key(n))
        for settings in SETTINGS:
            ids = np.array(sample_codes(logits, other, noise, **settings, backend=backend))
            with mx.stream(mx.cpu):
                twin = np.array(sample_codes(logits, other, noise, **settings, backend="mlx"))
            differ += int((ids != twin).sum())
            rows += ROWS
    found = f"{rows - differ} of {rows} ids are the twin's"
    if differ > 1:  # one may be a near-tie, which another log decides the other way
        raise WrongError(found)
    return found


def _within(tolerance: float, pairs: list[tuple[mx.array, mx.array]]) -> str:
    error = max(_apart(kernel, twin) for kernel, twin in pairs)
    if not error <= tolerance:
        raise WrongError(f"relative error {error:.1e}, more than {tolerance:.1e}")
    return f"relative error {error:.1e}"


def _tolerance(dtype: mx.Dtype, float32: float) -> float:
    return float32 if dtype == mx.float32 else 2 * float(mx.finfo(dtype).eps)


def _group_norm(subject: Subject, backend: Backend, dtype: mx.Dtype) -> str:
    x = _normal(1, 40, 33, subject.channels, dtype=dtype) + 3
    weight, bias = _normal(subject.channels, seed=1), _normal(subject.channels, seed=2)
    groups = min(32, subject.channels)
    here = group_norm_silu(x, weight, bias, groups, 1e-6, backend=backend)
    mx.eval(here)
    with mx.stream(mx.cpu):
        twin = group_norm_silu(x, weight, bias, groups, 1e-6, backend="mlx")
    return _within(_tolerance(dtype, 2e-5), [(here, twin)])


def _norm(subject: Subject, backend: Backend, dtype: mx.Dtype) -> str:
    x, branch = (_normal(2, subject.width, dtype=dtype, seed=s) for s in (0, 1))
    weight = 1 + _normal(subject.width, seed=2)
    here = add_rms_norm(x, branch, weight, 1e-6, backend=backend)
    mx.eval(here)
    with mx.stream(mx.cpu):
        twin = add_rms_norm(x, branch, weight, 1e-6, backend="mlx")
    return _within(_tolerance(dtype, 2e-6), list(zip(here, twin, strict=True)))


def _rotation(_: Subject, backend: Backend, dtype: mx.Dtype) -> str:
    freqs = 10000.0 ** (mx.arange(0, 64, 2, dtype=mx.float32) / 64)
    start, joined = mx.array([3, 900], mx.int32), _normal(2, 8 * 64, dtype=dtype)

    def rotated(backend: Backend) -> tuple[mx.array, mx.array]:
        queries, *entries = Rotary(freqs, start, 2, 1, dtype, backend)(joined, 4, 2)
        both = queries, mx.concatenate(entries)
        mx.eval(both)
        return both

    here = rotated(backend)
    with mx.stream(mx.cpu):
        pairs = list(zip(here, rotated("mlx"), strict=True))
    return _within(_tolerance(dtype, 2e-4), pairs)  # angles up to 900 in float32


def _normal(*shape: int, dtype: mx.Dtype = mx.float32, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed)).astype(dtype)


def _apart(a: mx.array, b: mx.array) -> float:
    """The largest difference, relative to the largest value of b."""
    x, y = (np.array(m.astype(mx.float32)).astype(np.float64) for m in (a, b))
    return float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30))
