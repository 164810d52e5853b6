"""Sampling settings: what is accepted, what is refused with a sentence, and seeds."""

import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx import load
from liquid_mlx.errors import LiquidError, SettingsError
from liquid_mlx.params import MAX_COUNT, SEEDS, ImageParams, TextParams, seeds_for

IMAGE, TEXT = asdict(ImageParams()), asdict(TextParams())
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=200),
    st.complex_numbers(),
    st.lists(st.integers(), max_size=2),
)


def outcome(params, name, value):
    """The setting as it is kept, or None if it was refused in a sentence of sensible length."""
    try:
        return getattr(params(**{name: value}), name)
    except SettingsError as error:
        message = str(error)
    assert len(message) < 200
    assert message.endswith(".")
    return None


@given(st.sampled_from(sorted(IMAGE)), ANYTHING)
def test_image_settings_are_in_range_or_refused_in_one_sentence(name, value):
    kept = outcome(ImageParams, name, value)
    if kept is not None:
        assert not isinstance(kept, bool)
        assert math.isfinite(kept)
        assert kept >= 0


@given(st.sampled_from(sorted(TEXT)), ANYTHING)
def test_text_settings_are_in_range_or_refused_in_one_sentence(name, value):
    kept = outcome(TextParams, name, value)
    assert kept is None or math.isfinite(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance", math.inf),
        ("guidance", -1),
        ("guidance", 10**400),
        ("guidance", True),
        ("temperature", math.nan),
        ("temperature", "warm"),
        ("temperature", 1e300),
        ("top_k", 2.5),
        ("top_k", -1),
        ("top_k", 2**63),
        ("top_k", False),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", None),
    ],
)
def test_what_is_no_setting_is_refused(name, value):
    with pytest.raises(SettingsError, match=name.replace("_", "-")):
        ImageParams(**{name: value})


def test_numbers_of_numpy_are_numbers():
    params = ImageParams(
        guidance=np.float32(3), temperature=np.int64(1), top_k=np.int32(5), top_p=np.float64(0.5)
    )
    assert params == ImageParams(guidance=3, temperature=1, top_k=5, top_p=0.5)
    assert seeds_for(np.uint32(7), np.int64(2)) == [7, 8]


@given(st.integers(0, SEEDS - 1), st.integers(1, 50))
def test_seeds_follow_each_other_around(seed, count):
    seeds = seeds_for(seed, count)
    assert len(seeds) == count
    assert seeds[0] == seed
    assert all((b - a) % SEEDS == 1 for a, b in pairwise(seeds))


@pytest.mark.parametrize("count", [0, -1, MAX_COUNT + 1, 5_000_000_000, True, 1.5, "3"])
def test_counts_out_of_range_are_refused_before_any_list_is_made(count):
    with pytest.raises(LiquidError, match="count"):
        seeds_for(0, count)


@pytest.mark.parametrize("seed", [-1, SEEDS, 2**70, True, 0.5, "x", [1, 2], [1, -1, 2]])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(SettingsError, match="seed"):
        seeds_for(seed, 3)


@pytest.mark.parametrize("count", [5_000_000_000, 0, True, "3"])
def test_a_model_refuses_a_count_before_it_draws(count):
    with pytest.raises(SettingsError, match="count"):
        load("demo").stream_image("a red circle", count=count)
