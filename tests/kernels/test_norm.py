"""Residual sum and RMS norm against the definition in float64, and against MLX's own kernel."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import add_rms_norm

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def example(rows: int, width: int, dtype: mx.Dtype) -> tuple[mx.array, mx.array, mx.array]:
    """x, branch and a float32 weight."""
    keys = iter(mx.random.split(mx.random.key(rows + width), 3))
    x, branch = (
        (scale * mx.random.normal((rows, width), key=next(keys))).astype(dtype) for scale in (5, 2)
    )
    return x, branch, 1 + mx.random.normal((width,), key=next(keys))


def check(got, x, branch, weight, eps):
    """The sum to the last bit, the norm to the last place of its dtype."""
    total, norm = got
    expected = x if branch is None else x + branch
    assert mx.array_equal(total, expected)
    assert norm.dtype == x.dtype
    y = np.array(expected.astype(mx.float32)).astype(np.float64)
    wanted = y / np.sqrt((y**2).mean(-1, keepdims=True) + eps) * np.array(weight)
    tolerance = 2e-6 if x.dtype == mx.float32 else float(mx.finfo(x.dtype).eps)
    np.testing.assert_allclose(
        np.array(norm.astype(mx.float32)), wanted, rtol=tolerance, atol=tolerance / 8
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("adds", [True, False])
def test_the_twin_is_the_definition(dtype, rows, adds, monkeypatch):
    x, branch, weight = example(rows, 48, DTYPES[dtype])
    branch = branch if adds else None
    check(add_rms_norm(x, branch, weight, 1e-5, backend="mlx"), x, branch, weight, 1e-5)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)  # MLX's own kernel
    check(add_rms_norm(x, branch, weight, 1e-5, backend="mlx"), x, branch, weight, 1e-5)


def test_the_norm_of_nothing_is_nothing():
    _, norm = add_rms_norm(mx.zeros((2, 8)), None, mx.ones((8,)), 1e-6)
    np.testing.assert_array_equal(np.array(norm), 0)
