"""What the CPU computes, against the kernels that a GPU is given: both evaluated here."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.config import BackboneConfig
from liquid_mlx.nn.ops import attention, attention_mask, gelu_tanh, rope_freqs

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


def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("seen", ["all", "padded"])
def test_attention_is_the_kernels(monkeypatch, length, groups, seen):
    keys = iter(mx.random.split(mx.random.key(3), 3))
    queries = mx.random.normal((2, 6, length, 16), key=next(keys))
    k, v = (mx.random.normal((2, groups, 9, 16), key=next(keys)) for _ in range(2))
    visible = None if seen == "all" else (mx.arange(9) >= mx.array([[0], [4]]))[:, None, None]

    def attend() -> np.ndarray:
        made = attention_mask(visible, (2, 6, length, 9), mx.float32, None)
        return np.array(attention(queries, k, v, scale=0.3, mask=made))

    plain = attend()
    pretend_gpu(monkeypatch)
    np.testing.assert_allclose(plain, attend(), atol=1e-5)


def test_a_cap_bounds_the_scores():
    queries, keys = 100 * mx.ones((1, 1, 1, 4)), mx.array([[[[1.0] * 4, [-1.0] * 4]]])
    mask = attention_mask(None, (1, 1, 1, 2), mx.float32, 2.0)
    values = mx.array([[[[1.0], [0.0]]]])
    mixed = attention(queries, keys, mx.repeat(values, 4, -1), scale=1.0, mask=mask, cap=2.0)
    np.testing.assert_allclose(np.array(mixed), 1 / (1 + np.exp(-4)), rtol=1e-5)


def test_gelu_is_the_tanh_approximation():
    x = np.linspace(-8, 8, 1001)
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(np.array(gelu_tanh(mx.array(x))), expected, atol=1e-6)


def test_waves_by_hand():
    np.testing.assert_allclose(np.array(rope_freqs(PLAIN))[:2], [1, 500 ** (2 / 16)], rtol=1e-5)
    linear = np.array(rope_freqs(CONFIGS["linear"]))
    np.testing.assert_allclose(linear, 4 * np.array(rope_freqs(PLAIN)), rtol=1e-6)
    stretched = np.array(rope_freqs(CONFIGS["llama3"])) / np.array(rope_freqs(PLAIN))
    assert stretched[0] == pytest.approx(1)  # waves shorter than 8 tokens are kept
    assert stretched[-1] == pytest.approx(8)  # those longer than 32 stretched by the factor


def test_a_scaling_of_any_length_has_finite_waves():
    """MLX takes no integers beyond 64 bits, and a config may hold them."""
    huge = {**LLAMA3, "original_max_position_embeddings": 10**20}
    assert np.isfinite(np.array(rope_freqs(replace(PLAIN, rope_scaling=huge)))).all()
