"""Draws through the sampler follow the distributions that the PyTorch reference draws from."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.kernels import sample_codes
from tests.metal.conftest import ON_GPU

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TINY = ["gemma_tiny", "gemma_untied_mqa", "gemma_bf16_bin", "gemma2_tiny", "llama_tiny"]
TINY.append("qwen2_tiny")
FLAT = 4  # every code is equally likely: the reference's choice of codes for top-p is arbitrary


def stored(case):
    """-> (settings, logits of the codes, probabilities) of each distribution in a stored case."""
    full = case == "full_size_recipe"
    name = "golden_full" if full else "golden_llm"
    golden = np.load(GOLDEN / case / f"{name}.npz")
    every = json.loads((GOLDEN / case / f"{name}.json").read_text())
    shape = json.loads((GOLDEN / case / "case.json").read_text()) if not full else {"text_vocab": 0}
    codes = slice(shape["text_vocab"], None)
    rows = golden["sample/image_logits" if full else "sample/logits"][:, codes]
    names = ("temperature", "top_k", "top_p")
    for i, values in enumerate(every["sample_settings_temperature_topk_topp"]):
        settings = dict(zip(names, values, strict=True))
        probabilities = golden[f"sample/{i}/{'image_probs' if full else 'probs'}"][:, codes]
        for row, (logits, p) in enumerate(zip(rows, probabilities.astype(np.float64), strict=True)):
            arbitrary = row == FLAT and settings["top_p"] < 1
            # where p is 0 throughout, the reference leaves everything to one huge text logit
            if settings["temperature"] > 0 and not arbitrary and p.sum() > 0:
                yield settings, logits, p / p.sum()


@pytest.mark.slow
@pytest.mark.parametrize("case", [*TINY, "full_size_recipe"])
def test_draws_follow_the_golden_distributions(schedules, record_property, case):
    worst = -np.inf
    for number, (settings, logits, expected) in enumerate(stored(case)):
        n = len(expected)
        draws = 4000 if n < 1000 else 1000
        key = mx.random.split(mx.random.key(17), 100)[number]
        noise = mx.maximum(mx.random.uniform(shape=(draws, n), key=key), 1e-7)
        many = mx.broadcast_to(mx.array(logits), (draws, n))
        ids = np.array(sample_codes(many, None, noise, guidance=1.0, **settings, backend="mlx"))
        few = draws if ON_GPU else 50
        kernel = sample_codes(
            many[:few], None, noise[:few], guidance=1.0, **settings, backend="metal"
        )
        assert np.array_equal(kernel, ids[:few])
        counts = np.bincount(ids, minlength=n)
        assert counts[expected == 0].sum() == 0
        worst = max(worst, deviations(counts, expected * draws))
    record_property("worst chi-square", worst)
    assert worst < 4


def deviations(counts, expected):
    """Pearson's chi-square as a normal variable (Wilson and Hilferty, 1931); rare ids share a
    bin."""
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    rare = max((expected < 5).sum(), np.searchsorted(np.cumsum(expected), 5) + 1)
    counts = np.append(counts[rare:], counts[:rare].sum())
    expected = np.append(expected[rare:], expected[:rare].sum())
    freedom = len(counts) - 1
    if freedom == 0:
        return 0.0
    spread = 2 / (9 * freedom)
    square = ((counts - expected) ** 2 / expected).sum()
    return float((np.cbrt(square / freedom) - (1 - spread)) / np.sqrt(spread))


def test_a_wrong_distribution_is_noticed():
    expected = np.array([0.5, 0.25, 0.125, 0.125]) * 4000
    assert abs(deviations(np.array([2009, 991, 505, 495]), expected)) < 4
    assert deviations(np.array([1800, 1050, 600, 550]), expected) > 4
    assert deviations(np.array([0, 2000, 1000, 1000]), expected) > 4
