"""Judging drawn codes: the same scores as picture by picture, and the best is what is kept."""

from __future__ import annotations

import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.errors import SettingsError, UsageError
from liquid_mlx.generation.best_of import (
    NO,
    QUESTION,
    YES,
    affirmation,
    better_half,
    caption_log_probability,
    prompt_gain,
    scores,
)
from liquid_mlx.nn.backbone import Backbone

SETTINGS = {"guidance": 2.0, "temperature": 0.9, "top_k": 60, "top_p": 0.95}
HOLE = np.zeros((4, 4), bool)
HOLE[1:3, 1:3] = True


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny"), dtype="float32")


@pytest.fixture(scope="module")
def grids(liquid):
    pictures = liquid.generate_image("a boat", seed=5, count=3, **SETTINGS)
    return np.stack([picture.codes for picture in pictures])


def log_probability(liquid, ids, start):
    """Of ids from ``start`` on, by one plain pass over all of them and the text ids alone."""
    logits = np.array(liquid.logits(ids[:-1]))[start - 1 :, : liquid.config.image_offset]
    logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return sum(logs[i, token] for i, token in enumerate(ids[start:]))


def test_the_caption_is_scored_as_each_picture_alone(liquid, grids):
    together = caption_log_probability(liquid.engine, "a boat", grids)
    for codes, score in zip(grids, together, strict=True):
        shared, rest = liquid.prompts.caption(codes)
        (alone,) = liquid.engine.score(shared, rest, [liquid.prompts.reply("a boat")])
        assert score == pytest.approx(alone, abs=1e-4)
        begun = [*shared, *rest]
        ids = begun + liquid.prompts.reply("a boat")
        ends = [log_probability(liquid, [*ids, end], len(begun)) for end in liquid.engine.stop]
        assert score == pytest.approx(np.logaddexp.reduce(ends), abs=1e-4)


def test_yes_is_its_share_of_yes_and_no(liquid, grids):
    together = affirmation(liquid.engine, "a boat", grids)
    for codes, share in zip(grids, together, strict=True):
        shared, rest = liquid.prompts.question(codes, QUESTION.format("a boat"))
        begun = [*shared, *rest]

        def probability(words, begun=begun):
            replies = {tuple(liquid.prompts.reply(word)) for word in words}
            return sum(
                np.exp(log_probability(liquid, [*begun, *ids], len(begun))) for ids in replies
            )

        yes, no = probability(YES), probability(NO)
        assert share == pytest.approx(yes / (yes + no), abs=1e-4)


def test_both_is_the_sum(liquid, grids):
    found = scores(liquid.engine, "both", "a boat", [], grids, None)
    for one in found:
        assert one["score"] == pytest.approx(one["likelihood"] + np.log(one["yes"]))


@pytest.mark.parametrize("judge", ["likelihood", "question", "both"])
def test_the_best_of_each_is_kept(liquid, judge):
    kept = liquid.generate_image("a boat", seed=5, count=2, best_of=3, judge=judge, **SETTINGS)
    alone = liquid.generate_image("a boat", seed=5, count=6, **SETTINGS)
    for i, picture in enumerate(kept):
        among = alone[3 * i : 3 * i + 3]
        codes = np.stack([one.codes for one in among])
        found = [one["score"] for one in scores(liquid.engine, judge, "a boat", [], codes, None)]
        best = among[int(np.argmax(found))]
        np.testing.assert_array_equal(picture.codes, best.codes)
        assert picture.settings.seed == best.settings.seed
        record = picture.settings.to_dict()["best_of"]
        assert record["score"] == pytest.approx(max(found), abs=1e-4)
        assert list(record["scores"]) == [str(one.settings.seed) for one in among]
        np.testing.assert_allclose(list(record["scores"].values()), found, atol=1e-4)


def test_batches_change_nothing(liquid):
    prompts = ["a boat", "two trees", "a boat"]
    settings = {"seeds": [1, 50, 100], "best_of": 3, **SETTINGS}
    expected = liquid.generate_images(prompts, **settings)
    for batch_size in (1, 2, 3, 6):
        got = liquid.generate_images(prompts, batch_size=batch_size, **settings)
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(one.codes, other.codes)
            assert (one.settings.prompt, one.settings.seed) == (
                other.settings.prompt,
                other.settings.seed,
            )


def test_all_are_kept_if_asked_the_best_first(liquid):
    every = liquid.generate_image("a boat", seed=5, best_of=4, keep_all=True, **SETTINGS)
    (best,) = liquid.generate_image("a boat", seed=5, best_of=4, **SETTINGS)
    found = [picture.settings.to_dict()["best_of"]["score"] for picture in every]
    assert found == sorted(found, reverse=True)
    assert {picture.settings.seed for picture in every} == {5, 6, 7, 8}
    assert every[0].settings.seed == best.settings.seed


def test_pruning_draws_the_better_half_on_as_alone(liquid, monkeypatch):
    size = liquid.config.sizes[0]
    alone = liquid.generate_image("a boat", seed=5, count=4, **SETTINGS)
    ids = liquid.prompts.draw("a boat", size)
    halves = np.stack([picture.codes.reshape(-1)[:8] for picture in alone])
    gains = prompt_gain(liquid.engine, ids, size, halves)
    better = [5 + i for i in better_half(gains, [0] * 4)]
    calls, forward = [], Backbone.__call__
    monkeypatch.setattr(
        Backbone, "__call__", lambda self, x, c: calls.append(x.shape) or forward(self, x, c)
    )
    (kept,) = liquid.generate_image("a boat", seed=5, best_of=4, prune=True, **SETTINGS)
    assert [shape for shape in calls if shape[1] == 1].count((8, 1)) == 9
    assert [shape for shape in calls if shape[1] == 1].count((4, 1)) == 6
    record = kept.settings.to_dict()["best_of"]
    assert record["pruned"] == 2
    assert [int(seed) for seed in record["scores"]] == better
    np.testing.assert_array_equal(kept.codes, alone[kept.settings.seed - 5].codes)


def test_the_gain_is_what_the_prompt_adds(liquid, grids):
    size = liquid.config.sizes[0]
    ids, nothing = liquid.prompts.draw("a boat", size), liquid.prompts.unconditional(size)
    gains = prompt_gain(liquid.engine, ids, size, grids.reshape(3, -1))
    start = liquid.config.image_offset
    for codes, gain in zip(grids.reshape(3, -1), gains, strict=True):
        sums = []
        for begun in (ids, nothing):
            logits = np.array(liquid.logits([*begun, *(codes[:-1] + start)]))
            logits = logits[len(begun) - 1 :, start : start + liquid.config.vqgan.n_embed]
            logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            sums.append(logs[np.arange(16), codes].sum())
        assert gain == pytest.approx(sums[0] - sums[1], abs=1e-3)


def test_of_candidates_the_one_is_kept_that_makes_what_stays_likeliest(liquid):
    kept = np.arange(16, dtype=np.int32).reshape(4, 4) * 9
    edit = {"mask": HOLE, "candidates": 4, "seed": 5, **SETTINGS}
    (best,) = liquid.edit(kept, "a boat", judge="kept", **edit)
    alone = liquid.edit(kept, "a boat", mask=HOLE, count=4, seed=5, **SETTINGS)
    behind = np.arange(16) > 5
    behind &= ~HOLE.reshape(-1)
    sums = [
        liquid.statistics(one, **SETTINGS).log_probability.reshape(-1)[behind].sum()
        for one in alone
    ]
    assert best.settings.seed == 5 + int(np.argmax(sums))
    record = best.settings.to_dict()["best_of"]
    np.testing.assert_allclose(list(record["scores"].values()), sums, atol=1e-3)
    np.testing.assert_array_equal(best.codes, alone[int(np.argmax(sums))].codes)
    (asked,) = liquid.edit(kept, "a boat", **edit)  # whether the picture shows the prompt
    assert {"judge": "question", "pruned": 0}.items() <= asked.settings.steered["best_of"].items()


def test_steps_come_from_all_candidates_and_the_last_has_the_best(liquid):
    steps = list(liquid.stream_image("a boat", seed=5, best_of=3, **SETTINGS))
    total = steps[0].total
    assert [step.position for step in steps] == list(range(1, total + 1))
    assert [len(step.settings) for step in steps] == [3] * (total - 1) + [1]
    assert {step.drawn for step in steps} == {3}


def test_the_model_is_freed_only_when_all_are_judged(liquid, converted):
    spare = load(converted("gemma_tiny"), dtype="float32", low_ram=True)
    (expected,) = liquid.generate_image("a boat", seed=5, best_of=2, **SETTINGS)
    *_, last = spare.stream_image("a boat", seed=5, best_of=2, **SETTINGS)
    assert spare._held is None
    np.testing.assert_array_equal(last.images()[0].codes, expected.codes)


def test_halves_are_rounded_up_in_each_group():
    values = np.array([1.0, 5.0, 3.0, 0.0, 2.0, 7.0])
    assert better_half(values, [0, 0, 0, 1, 1, 1]) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"best_of": 0}, SettingsError),
        ({"best_of": 2.5}, SettingsError),
        ({"best_of": 2, "judge": "taste"}, SettingsError),
        ({"best_of": 2, "judge": "kept"}, UsageError),
        ({"best_of": 2, "judge": "kept", "keep": np.zeros((4, 4), int), "rows": 2}, UsageError),
        ({"best_of": 2, "prune": True, "keep_all": True}, UsageError),
        ({"best_of": 2, "prune": True, "window": 2}, UsageError),
        ({"best_of": 6000, "count": 2}, UsageError),
    ],
)
def test_what_cannot_be_judged_is_refused_before_the_first_step(liquid, settings, error):
    with pytest.raises(error):
        liquid.stream_image("a boat", **settings)
