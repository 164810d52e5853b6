"""Figures from rows, and their bootstrap intervals."""

from __future__ import annotations

import numpy as np

from liquid_mlx.evaluation.figures import Groups, Scored, Sums, mean


def test_sums_run_from_left_to_right() -> None:
    rows = [(value, 1.0) for value in (1e16, 1.0, 1.0, 1.0)]
    scored = Scored("x", {"all": rows}, mean("accuracy"))
    assert scored.exact() == {"all": {"accuracy": 1e16 / 4, "samples": 4}}


def test_intervals_are_those_of_resampling_one_by_one() -> None:
    rng = np.random.default_rng(3)
    scores = rng.choice([0, 0.3, 0.6, 0.9, 1], size=400)
    scored = Scored("x", {"all": [(float(s), 1.0) for s in scores]}, mean("accuracy"))
    low, high = scored.intervals(seed=1, resamples=4000)["all"]["accuracy"]
    means = [scores[rng.integers(400, size=400)].mean() for _ in range(4000)]
    expected = np.percentile(means, [2.5, 97.5])
    assert np.allclose([low, high], expected, atol=0.004)
    assert low < scores.mean() < high


def test_intervals_repeat_with_their_seed_and_leave_counts_out() -> None:
    rows = [(float(i % 3 == 0), 1.0) for i in range(50)]
    scored = Scored("x", {"all": rows}, mean("accuracy"))
    assert scored.intervals(5) == scored.intervals(5) != scored.intervals(6)
    assert scored.intervals()["all"].keys() == {"accuracy"}


def test_resamples_without_a_value_are_left_out() -> None:
    def share(sums: Sums) -> Groups:
        right, known = sums["all"]
        return {"all": {"share": right / known if known else None}}

    scored = Scored("x", {"all": [(1.0, 1.0), (0.0, 0.0)]}, share)
    assert scored.intervals()["all"]["share"] == [1.0, 1.0]
