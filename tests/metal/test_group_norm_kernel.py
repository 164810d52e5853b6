"""GroupNorm + SiLU: the Metal kernels against the definition in float64."""

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import group_norm_silu
from tests.kernels.test_group_norm import example, expected

SHAPES = [
    ((1, 1, 1, 2), 1),  # fewer than 8 values
    ((2, 5, 7, 32), 32),
    ((1, 33, 17, 96), 8),  # channels that are no power of 2
    ((1, 3, 3, 1000), 10),  # a threadgroup that is no multiple of 32
    ((2, 90, 95, 64), 32),  # pieces of unequal length
    ((1, 16, 16, 512), 32),
]


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_kernel_equals_the_definition(schedules, shape, groups, silu):
    schedules(0, 1, 2)
    x, weight, bias = example(shape)
    y = group_norm_silu(x, weight, bias, groups, 1e-6, silu=silu, backend="metal")
    assert np.abs(np.array(y) - expected(x, weight, bias, groups, 1e-6, silu)).max() < 2e-5


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_half_precision(schedules, dtype):
    x, weight, bias = example((1, 12, 12, 64), dtype)
    kernel = group_norm_silu(x, weight, bias, 32, 1e-6, backend="metal")
    twin = group_norm_silu(x, weight, bias, 32, 1e-6, backend="mlx")
    assert kernel.dtype == dtype
    off = np.abs(np.array((kernel - twin).astype(mx.float32)))
    assert off.max() <= 2 * float(mx.finfo(dtype).eps) * float(mx.abs(twin).max())
    assert np.mean(off > 0) < 0.01


def test_a_large_mean_does_not_cancel(schedules):
    x, weight, bias = example((1, 64, 64, 64), offset=1000.0)
    y = group_norm_silu(x, weight, bias, 32, 1e-6, backend="metal")
    assert np.abs(np.array(y) - expected(x, weight, bias, 32, 1e-6, True)).max() < 2e-3


@pytest.mark.parametrize("channels", [1024, 1056])
def test_more_channels_than_threads_take_the_twin(schedules, monkeypatch, channels):
    made = []
    inner = mx.fast.metal_kernel
    monkeypatch.setattr(mx.fast, "metal_kernel", lambda **m: made.append(m["name"]) or inner(**m))
    x, weight, bias = example((1, 3, 5, channels))
    y = group_norm_silu(x, weight, bias, 32, 1e-6, backend="metal")
    assert np.abs(np.array(y) - expected(x, weight, bias, 32, 1e-6, True)).max() < 2e-5
    assert bool(made) == (channels <= 1024)
