"""Draws through the sampler follow the distributions that the PyTorch reference draws from."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import sample_codes
from tests.metal.conftest import ON_GPU

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "gemma_tiny"
DRAWS = 4000
TEXT, FLAT = 512, 4  # where codes begin; the row in which which codes are kept is arbitrary


def settings():
    names = ("temperature", "top_k", "top_p")
    stored = json.loads((GOLDEN / "golden_llm.json").read_text())
    stored = stored["sample_settings_temperature_topk_topp"]
    return [(i, dict(zip(names, s, strict=True))) for i, s in enumerate(stored) if s[0] > 0]


@pytest.mark.parametrize(("number", "chosen"), settings())
def test_draws_follow_the_golden_distribution(schedules, number, chosen):
    golden = np.load(GOLDEN / "golden_llm.npz")
    for row, logits in enumerate(golden["sample/logits"][:, TEXT:]):
        if row == FLAT and chosen["top_p"] < 1:
            continue
        expected = golden[f"sample/{number}/probs"][row, TEXT:].astype(np.float64)
        if expected.sum() == 0:  # the reference leaves everything to one huge text logit
            continue
        expected /= expected.sum()
        key = mx.random.split(mx.random.key(17), 100)[10 * row + number]
        noise = mx.maximum(mx.random.uniform(shape=(DRAWS, len(expected)), key=key), 1e-7)
        many = mx.array(np.tile(logits, (DRAWS, 1)))
        chosen["guidance"] = 1.0
        ids = np.array(sample_codes(many, None, noise, **chosen, backend="mlx"))
        few = 2000 if ON_GPU else 50
        kernel = sample_codes(many[:few], None, noise[:few], **chosen, backend="metal")
        assert np.array_equal(kernel, ids[:few])
        counts = np.bincount(ids, minlength=len(expected))
        assert counts[expected == 0].sum() == 0
        assert goodness(counts, expected * DRAWS) < 4.5


def goodness(counts, expected):
    """Pearson's chi-square as standard deviations above its mean; rare ids share a bin."""
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = len(counts) - 1
    if freedom == 0:
        return 0.0
    return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)
