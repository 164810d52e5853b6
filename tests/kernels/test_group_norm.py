"""The plain-MLX twin of GroupNorm + SiLU against float64, and its appetite for memory."""

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import group_norm, group_norm_silu


def expected(x, weight, bias, groups, eps, silu):
    """PyTorch's definition in float64: groups of neighbouring channels, biased variance."""
    x, weight, bias = (np.array(a.astype(mx.float32)).astype(np.float64) for a in (x, weight, bias))
    batch, height, width, channels = x.shape
    g = x.reshape(batch, height, width, groups, channels // groups)
    g = (g - g.mean((1, 2, 4), keepdims=True)) / np.sqrt(g.var((1, 2, 4), keepdims=True) + eps)
    y = g.reshape(x.shape) * weight + bias
    return y / (1 + np.exp(-y)) if silu else y


def example(shape, dtype=mx.float32, offset=0.0):
    keys = mx.random.split(mx.random.key(7), 3)
    x = (mx.random.normal(shape, key=keys[0]) * 2 + offset).astype(dtype)
    return x, mx.random.normal(shape[-1:], key=keys[1]), mx.random.normal(shape[-1:], key=keys[2])


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [((1, 1, 1, 2), 1), ((2, 5, 7, 32), 32), ((1, 64, 80, 128), 32), ((3, 6, 4, 96), 8)],
)
def test_twin_equals_the_definition(shape, groups, silu):
    x, weight, bias = example(shape)
    y = group_norm_silu(x, weight, bias, groups, 1e-6, silu=silu, backend="mlx")
    assert np.abs(np.array(y) - expected(x, weight, bias, groups, 1e-6, silu)).max() < 2e-5


def test_a_large_mean_does_not_cancel():
    x, weight, bias = example((1, 64, 64, 64), offset=1000.0)
    y = group_norm_silu(x, weight, bias, 32, 1e-6, backend="mlx")
    assert np.abs(np.array(y) - expected(x, weight, bias, 32, 1e-6, True)).max() < 2e-3


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision_keeps_its_dtype(dtype):
    x, weight, bias = example((1, 8, 8, 64), dtype)
    y = group_norm_silu(x, weight, bias, 32, 1e-6, backend="mlx")
    assert y.dtype == dtype
    error = np.array(y.astype(mx.float32)) - expected(x, weight, bias, 32, 1e-6, True)
    assert np.abs(error).max() < 0.04


def test_far_negative_values_give_zero_not_nan():
    x = mx.array([-1.0, 1.0]).reshape(1, 1, 1, 2)
    y = group_norm_silu(x, mx.array([200.0, 1.0]), mx.zeros((2,)), 1, 1e-6, backend="mlx")
    assert y[0, 0, 0, 0].item() == 0


def test_pieces_change_nothing_and_bound_the_memory(monkeypatch):
    x, weight, bias = example((1, 512, 256, 128))
    mx.eval(x, weight, bias)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    y = group_norm_silu(x, weight, bias, 32, 1e-6, backend="mlx")
    mx.eval(y)
    if not mx.metal.is_available():
        assert mx.get_peak_memory() - before < 1.6 * x.nbytes  # the result, and pieces
    monkeypatch.setattr(group_norm, "CHUNK", 1 << 30)
    whole = group_norm_silu(x, weight, bias, 32, 1e-6, backend="mlx")
    assert np.abs(np.array(y) - np.array(whole)).max() < 1e-6


def test_shapes_that_do_not_fit_are_refused():
    x, weight, bias = example((1, 2, 2, 12))
    for arguments in ((x[0], weight, bias, 4), (x, weight[:6], bias, 4), (x, weight, bias, 5)):
        with pytest.raises(ValueError):
            group_norm_silu(*arguments, 1e-6)
