"""A part of a picture stays exactly, and the rest is drawn as a plain loop draws it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.errors import ImageError, SettingsError, UsageError
from liquid_mlx.generation.drawing.editing import given_codes
from liquid_mlx.generation.sampling import fold_in, sample
from liquid_mlx.images import read_codes
from liquid_mlx.nn.cache import KVCache
from tests.conftest import GOLDEN

KEPT = np.arange(16, dtype=np.int32).reshape(4, 4) * 9
SETTINGS = {"guidance": 3.0, "temperature": 0.9, "top_k": 60, "top_p": 0.95}
HOLE = np.zeros((4, 4), bool)
HOLE[1:3, 1:3] = True


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny", sizes=("64x64", "80x48")), dtype="float32")


def plain_loop(liquid, prompt, given, seed):
    """Codes of which each that is not given comes from a pass over everything before it."""
    config, engine = liquid.config, liquid.engine
    size = config.sizes[0]
    rows = [liquid.prompts.draw(prompt, size), liquid.prompts.unconditional(size)]
    codes: list[int] = []
    for place, known in enumerate(given):
        logits = []
        for ids in rows:
            ids = ids + [config.image_offset + code for code in codes]
            cache = KVCache.empty(config.backbone, 1, len(ids), mx.float32)
            logits.append(engine.image_head(engine.backbone(mx.array([ids]), cache)[:, -1]))
        key = fold_in(mx.random.key(seed), place)
        drawn = sample(logits[0], key, unconditional=logits[1], **SETTINGS)
        codes.append(int(known) if known >= 0 else int(drawn.item()))
    return np.array(codes).reshape(4, 4)


@pytest.mark.parametrize("edit", [{"rows": 2}, {"rows": 3}, {"mask": HOLE}, {"mask": ~HOLE}])
def test_an_edit_is_that_of_a_plain_loop(liquid, edit):
    given = given_codes(KEPT, edit.get("rows"), edit.get("mask"))
    pictures = liquid.generate_image("a boat", seed=5, count=2, keep=KEPT, **edit, **SETTINGS)
    for seed, picture in zip((5, 6), pictures, strict=True):
        np.testing.assert_array_equal(picture.codes, plain_loop(liquid, "a boat", given, seed))
        kept = given.reshape(4, 4) >= 0
        np.testing.assert_array_equal(picture.codes[kept], KEPT[kept])


def test_no_row_kept_is_a_new_picture(liquid):
    (new,) = liquid.generate_image("a boat", seed=5)
    (edited,) = liquid.generate_image("a boat", seed=5, keep=KEPT, rows=0)
    np.testing.assert_array_equal(edited.codes, new.codes)


def test_steps_of_an_edit_count_what_stays(liquid):
    steps = list(liquid.stream_image("a boat", seed=5, keep=KEPT, mask=HOLE))
    assert [step.position for step in steps] == [6, 9, 10, 16]
    np.testing.assert_array_equal(steps[0].codes[:5], KEPT.reshape(-1)[:5])


def test_a_picture_of_ours_brings_its_own_codes(liquid, tmp_path, monkeypatch):
    (picture,) = liquid.generate_image("a boat", seed=5, width=80)
    path, size = tmp_path / "a.png", liquid.config.size(80)
    picture.save(path)
    np.testing.assert_array_equal(liquid.codes(path, size), picture.codes)
    assert liquid.codes(path).shape == (4, 4)  # of another size: encoded
    edited = Image.open(path)
    edited.load()
    edited.paste((255, 0, 0), (0, 0, 40, 40))  # the program that painted here kept the codes
    assert (liquid.codes(edited, size) != picture.codes).any()
    picture.save(path, metadata=False)
    assert read_codes(path, (3, 5)) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"shape": [3, 5]}', '{"shape": [3, 5], "codes": "%%"}', "[" * 99999],
)
def test_damaged_codes_are_no_codes(text):
    image = Image.new("RGB", (80, 48))
    image.info["liquid-codes"] = text
    assert read_codes(image, (3, 5)) is None


def test_any_photo_can_be_continued(liquid):
    photo = GOLDEN / "images" / "photo.jpg"
    codes = liquid.codes(photo)
    (picture,) = liquid.generate_image("a boat", seed=5, keep=photo, rows=2)
    np.testing.assert_array_equal(picture.codes[:2], codes[:2])


def test_a_mask_is_what_is_white_or_transparent_in_a_picture():
    mask = Image.new("RGBA", (40, 40), (0, 0, 0, 255))
    mask.paste((255, 255, 255, 255), (12, 0, 20, 8))
    mask.paste((0, 0, 0, 0), (30, 30, 40, 40))
    drawn = given_codes(KEPT, None, mask).reshape(4, 4) < 0
    expected = np.zeros((4, 4), bool)
    expected[0, 1] = expected[3, 3] = True
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"rows": 1}, UsageError),
        ({"mask": HOLE}, UsageError),
        ({"keep": KEPT}, UsageError),
        ({"keep": KEPT, "rows": 1, "mask": HOLE}, UsageError),
        ({"keep": KEPT, "rows": 1, "window": 2}, UsageError),
        ({"keep": KEPT, "mask": HOLE & False}, UsageError),
        ({"keep": KEPT, "mask": Image.new("RGB", (8, 8))}, UsageError),
        ({"keep": KEPT, "rows": 4}, SettingsError),
        ({"keep": KEPT, "rows": -1}, SettingsError),
        ({"keep": KEPT, "mask": HOLE[:2]}, ImageError),
        ({"keep": KEPT, "mask": KEPT}, ImageError),
        ({"keep": KEPT[:2], "rows": 1}, ImageError),
        ({"keep": KEPT + 10**6, "rows": 1}, ImageError),
        ({"keep": "none.png", "rows": 1}, ImageError),
    ],
)
def test_what_cannot_be_edited_is_refused_before_the_first_step(liquid, settings, error):
    with pytest.raises(error):
        liquid.stream_image("a boat", **settings)
