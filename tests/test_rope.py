"""Rotary positions: the tables of the CPU against the kernel that a GPU is given."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import BackboneConfig
from liquid_mlx.fast import Rope, rope_waves

PLAIN = BackboneConfig("llama", 64, 32, 64, 1, 4, 2, 16, rope_theta=500.0)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS = {
    "plain": PLAIN,
    "linear": replace(PLAIN, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "llama3": replace(PLAIN, rope_scaling=LLAMA3),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("start", [0, 37, mx.array([3, 900])], ids=["zero", "one", "per row"])
@pytest.mark.parametrize("length", [1, 5])
def test_the_tables_turn_as_the_kernel_does(config, start, length, monkeypatch):
    x = mx.random.normal((2, 6, length, 16), key=mx.random.key(1))
    table = Rope(config).at(start, length)(x)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    kernel = Rope(config).at(start, length)(x)  # evaluated on the CPU, by the same call
    np.testing.assert_allclose(np.array(table), np.array(kernel), atol=2e-4)


def test_half_precision_stays_half_precision():
    x = mx.ones((1, 2, 3, 16), mx.bfloat16)
    assert Rope(PLAIN).at(4, 3)(x).dtype == mx.bfloat16


def test_waves_by_hand():
    np.testing.assert_allclose(np.array(rope_waves(PLAIN))[:2], [1, 500 ** (2 / 16)], rtol=1e-5)
    linear = np.array(rope_waves(CONFIGS["linear"]))
    np.testing.assert_allclose(linear, 4 * np.array(rope_waves(PLAIN)), rtol=1e-6)
    stretched = np.array(rope_waves(CONFIGS["llama3"])) / np.array(rope_waves(PLAIN))
    assert stretched[0] == pytest.approx(1)  # waves shorter than 8 tokens are kept
    assert stretched[-1] == pytest.approx(8)  # those longer than 32 stretched by the factor
