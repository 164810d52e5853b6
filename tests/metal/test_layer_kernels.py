"""The kernels of a layer, residual sum with norm and rotation, against their twins."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import Rotary, add_rms_norm
from liquid_mlx.nn.ops import rope_freqs
from tests.kernels.test_norm import DTYPES, check, example
from tests.kernels.test_rotary import HEADS, KV_HEADS, WIDTH, entries, joined
from tests.nn.test_ops import CONFIGS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [3, 256, 1000])  # 3: fewer than 8 values
@pytest.mark.parametrize("adds", [True, False])
def test_sum_and_norm_are_the_definition(schedules, dtype, width, adds):
    schedules(0, 1, 2)
    x, branch, weight = example(2, width, DTYPES[dtype])
    branch = branch if adds else None
    check(add_rms_norm(x, branch, weight, 1e-6, backend="metal"), x, branch, weight, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (2, 1), (2, 5), (9, 2)])
@pytest.mark.parametrize("per_row", [True, False])
def test_rotation_is_the_twins(schedules, dtype, rows, length, per_row):
    schedules(0, 1, 2)
    x = joined(rows, length, DTYPES[dtype])
    start = mx.arange(rows) * 90 if per_row else 300
    freqs = rope_freqs(CONFIGS["llama3"])
    made = [
        entries(Rotary(freqs, start, rows, length, DTYPES[dtype], backend)(x, HEADS, KV_HEADS))
        for backend in ("metal", "mlx")
    ]
    for kernel, twin in zip(*made, strict=True):
        assert kernel.shape == twin.shape
        assert kernel.dtype == twin.dtype
        apart = np.abs(np.array((kernel - twin).astype(mx.float32)))
        assert apart.max() <= 4 * float(mx.finfo(kernel.dtype).eps)
    assert mx.array_equal(made[0][2], made[1][2])
    assert made[0][0].shape == (rows, HEADS, length, WIDTH)
