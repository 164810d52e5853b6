"""Edits, variations and statistics of pictures that exist."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.errors import ImageError, PromptError, SettingsError
from liquid_mlx.generation.image import renewed_places
from liquid_mlx.images import read_settings
from liquid_mlx.prompts import INSTRUCTIONS
from liquid_mlx.sampling import distribution
from tests.conftest import GOLDEN

SETTINGS = {"guidance": 2.0, "temperature": 0.9, "top_k": 60, "top_p": 0.95}
STRENGTHS = (0, 0.1, 0.3, 0.6, 1)


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny", sizes=("64x64", "80x48")), dtype="float32")


@pytest.fixture(scope="module")
def picture(liquid):
    return liquid.generate_image("a boat", seed=5, width=80, **SETTINGS)[0]


def test_an_edit_keeps_the_pictures_size_and_says_what_it_kept(liquid, picture, tmp_path):
    picture.save(tmp_path / "a.png")
    (edited,) = liquid.edit(tmp_path / "a.png", "a tree", rows=2, seed=6, **SETTINGS)
    (same,) = liquid.generate_image(
        "a tree", seed=6, keep=picture.codes, rows=2, width=80, **SETTINGS
    )
    np.testing.assert_array_equal(edited.codes, same.codes)
    np.testing.assert_array_equal(edited.codes[:2], picture.codes[:2])
    edited.save(tmp_path / "b.png")
    settings = read_settings(tmp_path / "b.png")
    assert settings["edit"] == {"kept": ["11111", "11111", "00000"]}
    assert (settings["prompt"], settings["seed"], settings["guidance"]) == ("a tree", 6, 2.0)
    assert not {"edit", "steered"} & set(picture.settings.to_dict())
    assert "steered" not in settings


def test_no_strength_is_the_same_picture_and_all_of_it_a_new_one(liquid, picture, tmp_path):
    picture.save(tmp_path / "a.png")
    for source in (picture, tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
        (same,) = liquid.vary(source, strength=0, seed=9)
        np.testing.assert_array_equal(same.codes, picture.codes)
        (new,) = liquid.vary(source, strength=1, seed=9)
        (expected,) = liquid.generate_image("a boat", seed=9, width=80, **SETTINGS)
        np.testing.assert_array_equal(new.codes, expected.codes)
    assert new.settings.to_dict()["variation"] == {"seed": 9, "strength": 1}
    assert new.settings.seed == 5


def test_a_stronger_variation_renews_more_and_all_that_a_weaker_one_does():
    places = [np.array(renewed_places(3, strength, 2000)) for strength in STRENGTHS]
    for weaker, stronger in pairwise(places):
        assert not (weaker & ~stronger).any()
    np.testing.assert_allclose([p.mean() for p in places], STRENGTHS, atol=0.05)


def test_variations_part_more_the_stronger_they_are(liquid):
    equal = []
    pictures = liquid.generate_image("a boat", seed=0, count=3, **SETTINGS)
    for strength in STRENGTHS:
        shares = []
        for picture in pictures:
            variations = liquid.vary(picture, strength=strength, seed=100, count=8)
            shares += [(v.codes == picture.codes).mean() for v in variations]
        equal.append(np.mean(shares))
    assert equal[0] == 1
    assert all(a >= b for a, b in pairwise(equal)), equal
    assert equal[-1] < 0.5


def test_variations_are_those_of_each_alone(liquid, picture):
    together = liquid.vary(picture, strength=0.4, seed=20, count=3)
    for i, one in enumerate(together):
        (alone,) = liquid.vary(picture, strength=0.4, seed=20 + i)
        np.testing.assert_array_equal(one.codes, alone.codes)
        assert one.settings == alone.settings


def test_a_picture_from_elsewhere_keeps_what_is_likeliest(liquid):
    photo = GOLDEN / "images" / "photo.jpg"
    codes = liquid.codes(photo)
    logs = liquid.statistics(codes, "a boat").log_probability
    for strength, drawn in ((0, 0), (0.25, 4), (1, 16)):
        (varied,) = liquid.vary(photo, prompt="a boat", strength=strength, seed=3)
        kept = np.array(
            [[c == "1" for c in row] for row in varied.settings.steered["edit"]["kept"]]
        )
        assert (~kept).sum() == drawn
        np.testing.assert_array_equal(varied.codes[kept], codes[kept])
        if 0 < drawn < 16:
            assert logs[~kept].max() <= logs[kept].min()
    (new,) = liquid.generate_image("a boat", seed=3)
    np.testing.assert_array_equal(varied.codes, new.codes)


def test_what_was_edited_is_varied_by_its_codes(liquid, picture):
    (edited,) = liquid.edit(picture, "a tree", rows=1, seed=6, **SETTINGS)
    (same,) = liquid.vary(edited, strength=0, seed=1)
    np.testing.assert_array_equal(same.codes, edited.codes)
    assert "kept" in liquid.vary(edited, strength=0.5, seed=1)[0].settings.steered["edit"]


def test_noise_is_known_only_under_the_adapters_that_it_was_drawn_with(liquid, picture):
    other = replace(picture, settings=replace(picture.settings, adapters=("style",)))
    for source, known in ((picture, True), (other, False)):
        (varied,) = liquid.vary(source, strength=0.5, seed=1)
        assert ("edit" not in varied.settings.steered) == known


def test_statistics_are_those_of_a_plain_loop(liquid, picture):
    found = liquid.statistics(picture)
    size, start = liquid.config.size(80), liquid.config.image_offset
    n = liquid.config.vqgan.n_embed
    rows = [liquid.prompts.draw("a boat", size), liquid.prompts.unconditional(size)]
    flat = picture.codes.reshape(-1)
    for place in (0, 1, 7, 14):
        before = (flat[:place] + start).tolist()
        c, u = (np.array(liquid.logits(ids + before))[-1, start : start + n] for ids in rows)
        guided = u + (c - u) * 2.0
        p = np.array(distribution(mx.array(guided[None]), temperature=0.9, top_k=60, top_p=0.95))[0]
        code, at = flat[place], np.unravel_index(place, picture.codes.shape)
        own = c[code] - np.logaddexp.reduce(c)
        assert found.probability[at] == pytest.approx(p[code], abs=1e-4)
        assert found.entropy[at] == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum(), abs=1e-3)
        assert found.log_probability[at] == pytest.approx(own, abs=1e-4)
        gain = guided[code] - np.logaddexp.reduce(guided) - own
        assert found.guidance[at] == pytest.approx(gain, abs=1e-3)
        assert found.rank[at] == 1 + (guided > guided[code]).sum()
    assert (found.probability > 0).all()  # every code could be drawn


def test_kept_and_drawn_codes_add_up_to_the_picture(liquid, picture):
    (edited,) = liquid.edit(picture, "a tree", rows=1, seed=6, **SETTINGS)
    size, start = liquid.config.size(80), liquid.config.image_offset
    joint = liquid.statistics(edited).log_probability.sum()
    ids = liquid.prompts.draw("a tree", size)
    parts = []
    for begun, codes in ((ids, edited.codes[:1]), (None, edited.codes[1:])):
        if begun is None:
            begun = [*ids, *(edited.codes[:1].reshape(-1) + start)]
        codes = codes.reshape(-1)
        logits = np.array(liquid.logits([*begun, *(codes[:-1] + start)]))[len(begun) - 1 :]
        logits = logits[:, start : start + liquid.config.vqgan.n_embed]
        logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        parts.append(logs[np.arange(len(codes)), codes].sum())
    assert joint == pytest.approx(sum(parts), abs=1e-4)


def test_greedy_codes_are_of_the_first_rank(liquid):
    (picture,) = liquid.generate_image("a boat", seed=1, temperature=0, guidance=1)
    found = liquid.statistics(picture)
    assert (found.rank == 1).all()
    assert (found.probability == 1).all()
    assert (found.entropy == 0).all()
    assert (found.guidance == 0).all()


def test_statistics_go_to_json_and_to_a_picture(liquid, picture):
    found = liquid.statistics(picture)
    values = json.loads(json.dumps(found.to_dict()))
    assert np.array(values["rank"]).shape == picture.codes.shape
    sheet = found.heat_map(picture.image)
    assert sheet.width > 5 * picture.image.width
    flat = liquid.statistics(liquid.generate_image("a boat", seed=1, temperature=0)[0])
    assert flat.heat_map(picture.image).size == sheet.size  # all alike: nothing is divided by 0


@pytest.mark.parametrize("number", [1, 4, 10])
def test_an_instruction_is_the_words_behind_the_prompt(liquid, number):
    (picture,) = liquid.generate_image("a boat", seed=5, instruction=number)
    size = liquid.config.sizes[0]
    ids = liquid.prompts.draw("a boat", size, number)
    assert liquid.prompts.decode(ids).endswith(INSTRUCTIONS[number - 1])
    assert picture.settings.to_dict()["instruction"] == number
    found = liquid.statistics(picture, temperature=1, top_k=0, top_p=1, guidance=1)
    start, flat = liquid.config.image_offset, picture.codes.reshape(-1)
    logits = np.array(liquid.logits([*ids, *(flat[:-1] + start)]))[len(ids) - 1 :, start:]
    logits = logits[:, : liquid.config.vqgan.n_embed]
    logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    expected = logs[np.arange(len(flat)), flat].reshape(picture.codes.shape)
    np.testing.assert_allclose(found.log_probability, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda liquid, p: liquid.vary(p, strength=1.5), SettingsError),
        (lambda liquid, p: liquid.vary(p, strength=float("nan")), SettingsError),
        (lambda liquid, p: liquid.vary(p, strength=0.5, count=0), SettingsError),
        (lambda liquid, p: liquid.vary("none.png", strength=0.5), ImageError),
        (lambda liquid, p: liquid.vary(p, strength=0.5, prompt=" "), PromptError),
        (lambda liquid, p: liquid.statistics(p, instruction=11), SettingsError),
        (lambda liquid, p: liquid.generate_image("a boat", instruction=0), SettingsError),
        (lambda liquid, p: liquid.edit(p, " ", rows=1), PromptError),
        (lambda liquid, p: liquid.edit(np.zeros((9, 9), int), "a", rows=1), ImageError),
    ],
)
def test_bad_arguments_are_refused(liquid, picture, call, error):
    with pytest.raises(error):
        call(liquid, picture)


def test_settings_inside_a_file_are_checked(liquid, picture, tmp_path):
    path = tmp_path / "a.png"
    picture.save(path)
    image = Image.open(path)
    image.load()
    for name, value in (("temperature", "hot"), ("seed", -1), ("instruction", 99)):
        settings = {**picture.settings.to_dict(), name: value}
        image.info["liquid"] = json.dumps(settings)
        with pytest.raises(SettingsError):
            liquid.vary(image, strength=0.5)
    image.info["liquid"] = json.dumps({**picture.settings.to_dict(), "prompt": ["x"]})
    liquid.vary(image, strength=0.5)
