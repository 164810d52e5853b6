"""The noise of a drawing."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx.generation.image import AHEAD, Draw, Noise
from liquid_mlx.generation.sampling import fold_in, noise
from liquid_mlx.params import ImageParams

SEEDS, TOTAL, IDS = [7, 8], 2 * AHEAD + 5, 3
EACH = np.stack(
    [
        [np.array(noise(fold_in(mx.random.key(seed), place)[None], (1, IDS)))[0] for seed in SEEDS]
        for place in range(TOTAL)
    ],
    axis=1,
)


@given(st.lists(st.tuples(st.integers(0, TOTAL - 8), st.integers(1, 8)), min_size=1, max_size=6))
def test_every_position_has_its_own_noise_however_it_is_asked_for(asked):
    rows = Noise(Draw(SEEDS, ImageParams(guidance=1.0, temperature=1.0, top_k=0, top_p=1.0)), TOTAL)
    for start, length in sorted(asked):
        got = np.array(rows.rows(start, start + length, IDS))
        expected = EACH[:, start : start + length].reshape(-1, IDS)
        np.testing.assert_array_equal(got, expected)


def test_greedy_drawing_makes_no_noise():
    rows = Noise(
        Draw(SEEDS, ImageParams(guidance=1.0, temperature=0.0, top_k=0, top_p=1.0)), TOTAL
    ).rows(3, 5, IDS)
    np.testing.assert_array_equal(np.array(rows), np.zeros((4, IDS)))
