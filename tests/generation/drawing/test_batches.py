"""Different prompts drawn together come out as alone, for every family of backbones."""

from __future__ import annotations

import numpy as np
import pytest

from liquid_mlx import load, memory
from liquid_mlx.errors import PromptError, SettingsError
from liquid_mlx.nn.backbone import Backbone
from tests.conftest import CASES

PROMPTS = ["a boat", "a much longer prompt about two boats on a lake", "a tree", "a boat"]
SEEDS = [5, 6, 7, 8]


@pytest.fixture(scope="module", params=CASES)
def any_liquid(request, converted):
    return load(converted(request.param), dtype="float32")


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny"), dtype="float32")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures_of_a_batch_are_those_drawn_alone(any_liquid, guidance):
    together = any_liquid.generate_images(PROMPTS, seeds=SEEDS, guidance=guidance)
    for picture, prompt, seed in zip(together, PROMPTS, SEEDS, strict=True):
        (alone,) = any_liquid.generate_image(prompt, seed=seed, guidance=guidance)
        np.testing.assert_array_equal(picture.codes, alone.codes)
        assert picture.settings == alone.settings
        assert picture.image.tobytes() == alone.image.tobytes()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_and_windows_change_no_picture(liquid, batch_size):
    expected = [picture.codes for picture in liquid.generate_images(PROMPTS, seeds=SEEDS)]
    for window in (1, 4):
        got = liquid.generate_images(PROMPTS, seeds=SEEDS, batch_size=batch_size, window=window)
        np.testing.assert_array_equal([picture.codes for picture in got], expected)


def test_steps_name_their_pictures(liquid):
    steps = list(liquid.stream_images(PROMPTS, seeds=3, batch_size=3))
    total = steps[0].total
    assert [step.first for step in steps] == [0] * total + [3] * total
    assert [step.position for step in steps] == 2 * list(range(1, total + 1))
    assert [one.prompt for one in steps[0].settings] == PROMPTS[:3]
    assert [one.seed for step in (steps[0], steps[-1]) for one in step.settings] == [3, 4, 5, 6]


def test_a_prompt_is_read_once_in_a_batch_and_all_are_drawn_at_once(liquid, monkeypatch):
    liquid.generate_images(PROMPTS[:1], seeds=1, guidance=3.0)  # the unconditional one is known
    calls, forward = [], Backbone.__call__
    monkeypatch.setattr(
        Backbone,
        "__call__",
        lambda self, x, cache: calls.append(x.shape) or forward(self, x, cache),
    )
    total = liquid.generate_images(PROMPTS, seeds=SEEDS, guidance=3.0)[0].codes.size
    assert [rows for rows, _ in calls] == [1] * 3 + [8] * (total - 1)


def test_as_many_are_drawn_at_once_as_memory_allows(liquid, monkeypatch):
    size = liquid.config.sizes[0]
    rows, columns = liquid.config.grid(size)
    length = max(len(liquid.prompts.draw(prompt, size)) for prompt in PROMPTS) + rows * columns
    dtype = liquid.engine.backbone.dtype
    used = memory.weight_bytes(liquid.engine.backbone, dtype)
    used += memory.weight_bytes(liquid.vqgan, dtype)
    used += memory.decoder_bytes(liquid.config.vqgan, size.width, size.height)
    each = memory.kv_bytes(liquid.config.backbone, 2, length, dtype)
    for have, batches in ((8 * each, [0]), (4 * each, [0, 2]), (2 * each, [0, 1, 2, 3])):
        monkeypatch.setattr(memory, "available", lambda have=have: used + have)
        steps = liquid.stream_images(PROMPTS, seeds=SEEDS, guidance=3.0)
        assert sorted({step.first for step in steps}) == batches


@pytest.mark.parametrize(
    ("prompts", "settings", "error"),
    [
        ("a boat", {}, PromptError),
        (["a boat", " "], {}, PromptError),
        (["a boat", "a " * 9000], {}, PromptError),
        (["a boat", "a tree"], {"seeds": [1]}, SettingsError),
        (["a boat"], {"batch_size": 0}, SettingsError),
        (["a boat"], {"batch_size": True}, SettingsError),
    ],
)
def test_bad_lists_are_refused_before_anything_is_drawn(liquid, prompts, settings, error):
    with pytest.raises(error):
        liquid.stream_images(prompts, **settings)


def test_no_prompts_are_no_pictures(liquid):
    assert liquid.generate_images([]) == []
