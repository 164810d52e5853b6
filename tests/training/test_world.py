"""The picture world: what is drawn, what is kept for testing, and what the codes stand for."""

import random

import numpy as np
import pytest

from training import cells, language
from training.scenes import LAYOUTS, PAIRS, held_out_scene, random_scene, training_scene
from training.scenes import unseen_pair_scene as unseen
from training.world import (
    CELL,
    COLOURS,
    GROUNDS,
    HELD_OUT_PAIRS,
    SHAPES,
    SPANS,
    Scene,
    Thing,
    mask,
    render,
)


def scenes(number: int, **settings) -> list[Scene]:
    rng = random.Random(0)
    return [random_scene(rng, count=i % 4, pairs=PAIRS, **settings) for i in range(number)]


def test_a_plain_ground_is_one_colour():
    picture = render(Scene("empty", (), "navy", "plain"))
    assert picture.shape == (64, 64, 3)
    assert (picture == GROUNDS["navy"]).all()


def test_stripes_are_one_cell_high():
    picture = render(Scene("empty", (), "white", "striped")).astype(int)
    changes = np.flatnonzero(np.abs(np.diff(picture[:, 0], axis=0)).sum(axis=1))
    assert (changes == np.arange(7, 63, CELL)).all()


def test_a_thing_has_its_colour_inside_and_the_ground_outside():
    thing = Thing("square", "red", "large", 2, 3)
    picture = render(Scene("one", (thing,), "white", "plain"))
    assert tuple(picture[3 * 8 + 12, 2 * 8 + 12]) == COLOURS["red"]
    assert tuple(picture[0, 0]) == GROUNDS["white"]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_symmetric_and_smooth(shape):
    for size in SPANS:
        cover = mask(shape, size)
        assert np.abs(cover - cover[:, ::-1]).max() <= 0.26
        assert ((cover > 0.05) & (cover < 0.95)).any()


def test_things_never_touch():
    for wide in (False, True):
        for scene in scenes(400, wide=wide):
            taken = np.zeros((8, scene.columns), dtype=int)
            for thing in scene.things:
                assert thing.column + thing.span <= scene.columns
                assert thing.row + thing.span <= 8
                taken[thing.row : thing.row + thing.span, thing.column :][:, : thing.span] += 1
            assert taken.max(initial=0) <= 1


def test_training_never_sees_what_is_held_out():
    rng = random.Random(0)
    for i in range(400):
        scene = training_scene(rng, count=i % 4)
        assert not scene.is_held_out
        assert not scene.has_held_out_pair
    for i in range(100):
        assert held_out_scene(rng, count=1 + i % 3).is_held_out
        assert unseen(rng, count=1 + i % 3).has_held_out_pair


def test_held_out_pairs_leave_every_colour_and_shape_in_training():
    assert len(HELD_OUT_PAIRS) == 8
    left = [pair for pair in PAIRS if pair not in HELD_OUT_PAIRS]
    assert {c for c, _ in left} == set(COLOURS)
    assert {s for _, s in left} == set(SHAPES)


def test_what_is_held_out_does_not_depend_on_places():
    near, far = (Thing("star", "blue", "small", column, 3) for column in (2, 4))
    scenes = [Scene("one", (thing,), "mint", "plain") for thing in (near, far)]
    assert scenes[0].is_held_out == scenes[1].is_held_out


def test_equal_cells_have_equal_codes():
    seen = {}
    for scene in scenes(200):
        picture, codes = render(scene), cells.scene_codes(scene)
        for row in range(8):
            for column in range(8):
                cell = picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].tobytes()
                assert seen.setdefault(cell, codes[row, column]) == codes[row, column]


def test_all_patches_hold_every_code():
    patches, codes = cells.all_patches(np.random.default_rng(0))
    assert patches.shape == (len(codes), 8, 8, 3)
    assert set(codes) == set(range(cells.code_count()))
    assert cells.codebook().shape == (cells.code_count(), cells.FEATURES)


def test_captions_name_what_is_drawn():
    rng = random.Random(0)
    for scene in scenes(300):
        caption = language.caption(scene, rng, brief=0).lower().replace("grey", "gray")
        for thing in scene.things:
            assert f"{thing.colour} {thing.shape}" in caption
        assert scene.ground in caption
        assert (scene.style in caption) or scene.style == "plain"
        assert "a orange" not in caption
        assert "{" not in caption


def test_relations_are_told_both_ways():
    things = (Thing("star", "blue", "small", 1, 3), Thing("ring", "red", "small", 5, 3))
    scene = Scene("beside", things, "white", "plain")
    answers = dict(language.question(scene, random.Random(seed), "relation") for seed in range(200))
    assert answers["What is left of the red ring?"] == "a blue star"
    assert answers["What is right of the blue star?"] == "a red ring"
    assert answers["Is the blue star left of the red ring?"] == "yes"
    assert answers["Is the red ring left of the blue star?"] == "no"


def test_questions_are_answered_from_the_scene():
    rng = random.Random(0)
    for scene in scenes(300):
        for kind in language.QUESTIONS:
            asked = language.question(scene, rng, kind)
            if asked is None:
                continue
            question, answer = asked
            if kind == "count":
                number = ("none", "one", "two", "three")[len(scene.things)]
                assert answer == number
            if kind == "existence":
                there = any(f"{t.colour} {t.shape}?" in question for t in scene.things)
                assert (answer == "yes") == there


def test_layouts_cover_up_to_three_things():
    assert set(LAYOUTS) == {0, 1, 2, 3}
