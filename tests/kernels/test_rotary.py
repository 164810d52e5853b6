"""Rotation without a kernel against MLX's own, and the order of heads."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import Rotary
from liquid_mlx.nn.ops import rope_freqs
from tests.nn.test_ops import CONFIGS

HEADS, KV_HEADS, WIDTH = 4, 2, 16


def joined(rows: int, length: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    shape = (rows * length, (HEADS + 2 * KV_HEADS) * WIDTH)
    return mx.random.normal(shape, key=mx.random.key(rows + length)).astype(dtype)


def entries(made: list[mx.array]) -> list[mx.array]:
    """Queries, keys and values, from either form."""
    return made if len(made) == 3 else [made[0], *mx.split(made[1], 2)]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("start", [0, 37, mx.array([3, 900])], ids=["zero", "one", "per row"])
@pytest.mark.parametrize("length", [1, 5])
def test_heads_come_apart_and_are_rotated_as_mlx_does(config, start, length):
    x = joined(2, length)
    freqs = rope_freqs(config)
    made = Rotary(freqs, start, 2, length, backend="mlx")(x, HEADS, KV_HEADS)
    apart = x.reshape(2, length, -1, WIDTH).swapaxes(1, 2)
    rotated = mx.fast.rope(
        apart, WIDTH, traditional=False, base=None, scale=1.0, offset=start, freqs=freqs
    )
    wanted = [rotated[:, :HEADS], rotated[:, HEADS : HEADS + KV_HEADS], apart[:, -KV_HEADS:]]
    for got, want in zip(made, wanted, strict=True):
        np.testing.assert_allclose(np.array(got), np.array(want), atol=2e-4)


def test_half_precision_stays_half_precision():
    freqs = rope_freqs(CONFIGS["plain"])
    made = Rotary(freqs, 4, 1, 3, backend="mlx")(joined(1, 3, mx.bfloat16), HEADS, KV_HEADS)
    assert {part.dtype for part in made} == {mx.bfloat16}


@pytest.mark.parametrize("length", [1, 5])
def test_three_arrays_are_rotated_as_one(length):
    rotary = Rotary(rope_freqs(CONFIGS["plain"]), 7, 2, length, backend="mlx")
    x = joined(2, length)
    parts = mx.split(x, [HEADS * WIDTH, (HEADS + KV_HEADS) * WIDTH], axis=-1)
    for got, want in zip(rotary.apart(*parts), rotary(x, HEADS, KV_HEADS), strict=True):
        assert mx.array_equal(got, want)
