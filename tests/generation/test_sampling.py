"""Sampling: the distribution against the PyTorch reference, draws, noise, keys, bad settings."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from liquid_mlx.errors import LiquidError
from liquid_mlx.generation.sampling import distribution, fold_in, noise, sample
from liquid_mlx.params import check_sampling

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
CASES = ["gemma_tiny", "gemma_untied_mqa", "gemma_bf16_bin", "gemma2_tiny", "llama_tiny"]
CASES.append("qwen2_tiny")
FLAT = 4  # every code is equally likely: which ones top-p keeps is arbitrary, their number is not


def golden_settings(path):
    names = ("temperature", "top_k", "top_p")
    stored = json.loads(path.read_text())["sample_settings_temperature_topk_topp"]
    return [dict(zip(names, values, strict=True)) for values in stored]


@pytest.mark.parametrize("case", CASES)
def test_distribution_is_the_references(case):
    golden = np.load(GOLDEN / case / "golden_llm.npz")
    shape = json.loads((GOLDEN / case / "case.json").read_text())
    codes = slice(shape["text_vocab"], None)  # and what the reference leaves in behind the codes
    logits = mx.array(golden["sample/logits"][:, codes])
    for i, settings in enumerate(golden_settings(GOLDEN / case / "golden_llm.json")):
        found = np.array(distribution(logits, **settings))
        expected = golden[f"sample/{i}/probs"][:, codes]
        if settings["temperature"] == 0:  # the reference splits ties, greedy takes the first
            likeliest = expected[np.arange(len(found)), found.argmax(-1)] > 0
            assert np.all(np.delete(likeliest, FLAT))
            continue
        for row in range(len(found)):
            total = expected[row].sum()
            if total == 0:  # unfiltered, the reference leaves everything to one huge text logit
                continue
            if row == FLAT and settings["top_p"] < 1:
                assert abs((found[row] > 0).sum() - (expected[row] > 0).sum()) <= 1
            else:
                want = expected[row] / total
                apart = (found[row] > 1e-30) != (want > 1e-30)  # below, MLX rounds to 0
                # Only an id at the very edge of top-p, where float32 sums decide, may be let go.
                edge = 1 - want[~apart].sum() if apart.sum() == 1 else 0
                assert not apart.any() or cut_at_the_edge(logits[row], want, apart, settings)
                assert np.abs(found[row] - want).max() < 1e-5 + edge, (i, row)


def cut_at_the_edge(logits, want, apart, settings):
    """Whether without the one id in question the rest holds top-p's share to within 1e-6."""
    z = np.array(logits, dtype=np.float64) / settings["temperature"]
    shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    kept = shares[(want > 0) & ~apart].sum()
    return apart.sum() == 1 and abs(kept - settings["top_p"]) < 1e-6


def test_distribution_is_the_references_at_full_size():
    folder = GOLDEN / "full_size_recipe"
    golden = np.load(folder / "golden_full.npz")
    logits = mx.array(golden["sample/image_logits"])
    for i, settings in enumerate(golden_settings(folder / "golden_full.json")):
        found = np.array(distribution(logits, **settings))
        assert np.abs(found - golden[f"sample/{i}/image_probs"]).max() < 1e-5


rows = st.lists(
    st.lists(
        st.one_of(
            st.floats(-30, 30, width=32),
            st.integers(-2, 2).map(float),
            st.sampled_from([float("nan"), float("-inf"), float("inf")]),
        ),
        min_size=6,
        max_size=6,
    ),
    min_size=1,
    max_size=3,
)


@hypothesis_settings(deadline=None, max_examples=150)
@given(rows, st.sampled_from([0, 0.3, 1, 2]), st.integers(0, 8), st.floats(0.01, 1))
def test_any_row_has_a_distribution_and_draws_from_it(values, temperature, top_k, top_p):
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    logits = mx.array(values, dtype=mx.float32)
    found = np.array(distribution(logits, **settings))
    assert np.all(found >= 0)
    assert np.abs(found.sum(-1) - 1).max() < 1e-5
    drawn = np.array(sample(logits, mx.random.key(1), **settings))
    assert np.all(found[np.arange(len(drawn)), drawn] > 0)


def test_ties_with_the_kth_are_kept_and_top_p_takes_the_first_of_equals():
    logits = mx.array([[1.0, 3.0, 2.0, 2.0, 2.0, 0.0]])
    kept = np.array(distribution(logits, temperature=1.0, top_k=2) > 0)
    assert kept.tolist() == [[False, True, True, True, True, False]]
    flat = np.array(distribution(mx.zeros((1, 10)), temperature=1.0, top_p=0.45) > 0)
    assert flat.tolist() == [[True] * 5 + [False] * 5]


def test_top_p_keeps_at_least_one():
    assert (distribution(mx.zeros((1, 10)), temperature=1.0, top_p=1e-9) > 0).sum().item() == 1


def test_temperature_0_takes_the_first_of_the_largest():
    logits = mx.array([[0.0, 7.0, 7.0], [5.0, 1.0, 5.0]])
    assert sample(logits, mx.random.key(0), temperature=0.0).tolist() == [1, 0]
    assert distribution(logits, temperature=0.0).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_row_draws_the_same_alone_and_among_others():
    logits = mx.random.normal((4, 300), key=mx.random.key(5))
    keys = fold_in(mx.random.key(9), mx.arange(4))
    settings = {"temperature": 1.0, "top_k": 50, "top_p": 0.9}
    together = sample(logits, keys, **settings).tolist()
    alone = [sample(logits[i : i + 1], keys[i : i + 1], **settings).item() for i in range(4)]
    assert together == alone
    assert alone[2] == sample(logits[2:3], keys[2], **settings).item()


def test_guidance_moves_away_from_the_unconditional_row():
    logits, other = mx.array([[1.0, 1.2, 0.0]]), mx.array([[0.0, 1.0, 0.0]])
    key = mx.random.key(0)
    assert sample(logits, key, temperature=0.0).item() == 1
    assert sample(logits, key, unconditional=other, guidance=3.0, temperature=0.0).item() == 0


def test_noise_is_uniform_inside_the_open_interval():
    values = np.array(noise(mx.random.key(2), (1 << 21,)))
    assert values.dtype == np.float32
    assert values.min() > 0
    assert values.max() < 1
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    assert np.abs(counts / len(values) * 64 - 1).max() < 0.03
    assert len(np.unique(values)) > 0.9 * len(values)  # 2 ** 24 values or more


def test_noise_moves_0_into_the_interval(monkeypatch):
    monkeypatch.setattr(mx.random, "uniform", lambda shape, key: mx.zeros(shape))
    assert 0 < noise(mx.random.key(0), (3,)).min().item() < 1e-9


def test_folded_keys_are_repeatable_and_different():
    key = mx.random.key(123)
    keys = np.array(fold_in(key, mx.arange(1000)))
    assert len(np.unique(keys, axis=0)) == 1000
    assert np.array_equal(keys[7], fold_in(key, 7))
    others = np.array(fold_in(mx.random.key(124), mx.arange(1000)))
    assert len(np.unique(np.concatenate([keys, others]), axis=0)) == 2000
    streams = np.array(noise(mx.array(keys[:50]), (50, 400)))
    correlation = np.corrcoef(streams) - np.eye(50)
    assert np.abs(correlation).max() < 0.25


def test_a_batch_of_keys_folds_as_each_alone():
    keys = mx.random.split(mx.random.key(1), 3)
    together = fold_in(keys, 5)
    assert all(mx.array_equal(together[i], fold_in(keys[i], 5)) for i in range(3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, name: value}
    with pytest.raises(LiquidError, match=name.replace("_", "-")):
        check_sampling(**settings)
    with pytest.raises(LiquidError):
        distribution(mx.zeros((1, 4)), **settings)
