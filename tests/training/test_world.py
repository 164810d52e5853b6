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
    Scene,
    Thing,
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
    pixels, codes = cells.grid_cells()
    seen = {}
    for cell, code in zip(pixels.astype(np.uint8), codes, strict=True):
        assert seen.setdefault(cell.tobytes(), code) == code
    assert codes.max() < cells.code_count()


def test_the_codes_of_a_scene_are_those_of_its_cells():
    pixels, codes = cells.grid_cells()
    known = {p.astype(np.uint8).tobytes(): c for p, c in zip(pixels, codes, strict=True)}
    rng = random.Random(1)
    for count in (0, 1, 2, 3, 4) * 5:
        scene = random_scene(rng, count=count)
        cut = cells.cells_of(render(scene))
        found = [[known.get(cut[y, x].tobytes(), -1) for x in range(8)] for y in range(8)]
        wanted = cells.scene_codes(scene)
        known_cells = np.array(found) >= 0
        assert (np.array(found) == wanted)[known_cells].mean() > 0.99
        assert known_cells.mean() > 0.8  # pieces that look alike share a code
