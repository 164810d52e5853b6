"""The picture world: pictures, places, codes of cells."""

import random

import numpy as np
import pytest

pytest.importorskip("sklearn")

from training import cells
from training.scenes import ARRANGEMENTS, PLACES, arrange, random_scene
from training.world import (
    BACKGROUNDS,
    CELL,
    COLOURS,
    PAIRS,
    SHAPES,
    FreeThing,
    Scene,
    Thing,
    cover,
    render,
    render_free,
)


def things(number, size="large"):
    return [Thing(SHAPES[i], list(COLOURS)[i], size) for i in range(number)]


def test_all_pairs_of_colour_and_shape_are_there():
    assert len(PAIRS) == 56


@pytest.mark.parametrize("name", ARRANGEMENTS)
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("columns", [8, 12])
def test_things_stand_inside_and_apart(name, size, columns):
    scene = arrange(things(len(ARRANGEMENTS[name]), size), "white", "plain", name, columns)
    taken = np.zeros((8, columns), dtype=int)
    for thing in scene.things:
        taken[thing.row : thing.row + thing.span, thing.column : thing.column + thing.span] += 1
    assert taken.max(initial=0) <= 1
    assert taken.sum() == sum(thing.span**2 for thing in scene.things)


def test_a_thing_is_where_its_place_says():
    for place, (vertical, horizontal) in PLACES.items():
        (thing,) = arrange(things(1), "white", "plain", place).things
        assert (thing.y < 3) == (vertical == "top")
        assert (thing.x > 5) == (horizontal == "right")


def test_random_scenes_show_no_thing_in_the_colour_of_the_background():
    rng = random.Random(0)
    for count in range(5):
        for _ in range(50):
            scene = random_scene(rng, count=count)
            assert len(scene.things) == count
            assert all(thing.colour != scene.background for thing in scene.things)


def test_a_picture_has_the_tones_of_its_scene():
    picture = render(Scene((Thing("square", "red", "large", 2, 3),), "mint"))
    assert picture.shape == (128, 128, 3)
    assert tuple(picture[0, 0]) == BACKGROUNDS["mint"]
    assert tuple(picture[3 * CELL + 24, 2 * CELL + 24]) == COLOURS["red"]


def test_free_shapes_turn_and_stand_where_they_are_put():
    picture = render_free([("square", "blue", 40.0, 60.0, 30.0, 45.0)], "white", size=(192, 128))
    assert picture.shape == (128, 192, 3)
    marked = np.argwhere((picture == COLOURS["blue"]).all(axis=-1))
    assert np.abs(marked.mean(axis=0) - (59.5, 39.5)).max() < 1
    assert np.ptp(marked[:, 0]) > 30  # a square on its corner is taller than its side


def test_a_cell_of_the_world_has_one_code():
    rng, seen, known = random.Random(1), {}, 0
    for count in (0, 1, 2, 3, 4) * 8:
        scene = random_scene(rng, count=count)
        codes = cells.scene_codes(scene).flatten()
        assert codes.max() < cells.code_count()
        for cell, code in zip(cells.cells_of(render(scene)).reshape(64, -1), codes, strict=True):
            known += cell.tobytes() in seen
            assert seen.setdefault(cell.tobytes(), code) == code
    assert known > 1000


def test_a_shape_anywhere_has_codes_of_its_shape_and_colour():
    tones, grid = len(cells.tone_codes()[1]), len(cells.grid_pieces()[1])
    colours, ground = list(COLOURS), np.full((128, 128, 3), 246.0)
    for shape in SHAPES:
        covered = cover(FreeThing(shape, "", 61.0, 70.0, 41.0, 9.0), 128, 128)
        codes = cells.seen_codes([covered], [shape], ["green"], ground)
        pieces, hues = np.divmod(codes[codes >= tones] - tones, len(colours))
        assert 6 <= len(pieces) <= 16
        assert {colours[h] for h in hues} == {"green"}
        of_shape = cells.piece_shapes()[pieces][:, SHAPES.index(shape)]
        assert (of_shape > 0).all()
        assert (pieces >= grid).mean() > 0.6


def test_an_unknown_shape_gets_pieces_and_no_shape_the_tones_of_its_background():
    ground = np.full((128, 128, 3), 24.0)
    assert (
        cells.seen_codes([], [], [], ground) == cells.seen_codes([], [], [], ground)[0, 0]
    ).all()
    codes = cells.seen_codes(
        [cover(FreeThing("square", "", 64, 64, 50, 45.0), 128, 128)], [""], ["red"], ground
    )
    assert (codes >= len(cells.tone_codes()[1])).sum() >= 9
