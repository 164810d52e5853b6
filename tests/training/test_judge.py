"""The judge reads drawn pictures rightly, and tells when something is wrong."""

import random
from itertools import product

import numpy as np
import pytest

from training.everyday import as_reading, shown
from training.judge import SPECK, read, verdict
from training.measures.material import random_scene
from training.world import COLOURS, SHAPES, SPANS, Scene, Thing, render, render_free


def one(shape="star", colour="blue", size="large", **changes) -> Scene:
    scene = {"things": (Thing(shape, colour, size, 2, 2),), "background": "white"}
    return Scene(**scene | changes)


def pairs(picture) -> list[tuple[str, str]]:
    return sorted(thing.pair for thing in read(picture).things)


@pytest.mark.parametrize("off_grid", [False, True])
def test_it_reads_what_was_drawn(off_grid):
    rng = random.Random(0)
    for _ in range(40):
        scene = random_scene(rng, off_grid)
        if off_grid:  # as a file without loss
            free = [tuple(t[k] for k in ("shape", "colour", "x", "y", "side", "angle"))
                    for t in scene["things"]]  # fmt: skip
            picture = render_free(free, scene["background"], size=(scene["width"], 128))
        else:
            picture = np.asarray(shown(scene))
        reading, true = read(picture), as_reading(scene)
        assert sorted(t.pair for t in reading.things) == sorted(t.pair for t in true.things)
        assert (reading.background, reading.style) == (true.background, true.style)
        for thing in true.things:
            assert min(np.hypot(t.x - thing.x, t.y - thing.y) for t in reading.things) < 4


@pytest.mark.parametrize("size", SPANS)
def test_it_tells_every_shape_and_colour(size):
    for shape, colour in product(SHAPES, COLOURS):
        scene = one(shape, colour, size)
        assert verdict(scene, render(scene))["all"], scene


def test_it_sees_through_noise():
    noise = np.random.default_rng(0).normal(0, 6, (128, 128, 3))
    picture = (render(one()) + noise).clip(0, 255).astype(np.uint8)
    facts = verdict(one(), picture)
    assert all(right for fact, right in facts.items() if fact not in ("clean", "all"))


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        (one(shape="heart"), "shapes"),
        (one(colour="red"), "colours"),
        (one(size="small"), "sizes"),
        (one(background="cream"), "background"),
        (one(style="striped"), "style"),
        (one(things=()), "count"),
        (one(things=(Thing("star", "blue", "large", 4, 2),)), "places"),
    ],
)
def test_it_notices_one_wrong_fact(other, fact):
    facts = verdict(one(), render(other))
    assert not facts[fact]
    assert not facts["all"]


def test_a_blob_is_unclear():
    picture = render(one(things=()))
    picture[20:28, 10:110] = COLOURS["red"]
    assert [t.shape for t in read(picture).things] == ["unclear"]


def test_it_finds_a_speck():
    picture = render(one())
    assert read(picture).speck <= 2
    picture[120:123, 120:123] -= SPECK + 1
    assert read(picture).speck > SPECK
    assert not verdict(one(), picture)["clean"]


def test_a_soft_edge_of_a_thing_is_no_speck():
    picture = render(one()).astype(np.float32)
    soft = sum(np.roll(picture, step, axis) for axis in (0, 1) for step in (-1, 0, 1)) / 6
    assert read(soft.astype(np.uint8)).speck <= SPECK


def test_it_parts_things_that_touch():
    side = 46
    same = [("circle", "red", 40, 64, side, 0), ("circle", "red", 40 + side, 64, side, 0)]
    assert pairs(render_free(same)) == [("red", "circle")] * 2
    other = [("square", "red", 40, 64, side, 0), ("heart", "blue", 40 + side, 64, side + 4, 0)]
    assert pairs(render_free(other)) == [("blue", "heart"), ("red", "square")]


def test_it_sees_one_thing_inside_another():
    inside = [("square", "yellow", 64, 64, 90, 0), ("star", "blue", 64, 64, 40, 0)]
    assert pairs(render_free(inside)) == [("blue", "star"), ("yellow", "square")]
    ring = [("ring", "green", 64, 64, 100, 0), ("heart", "red", 64, 64, 30, 0)]
    assert pairs(render_free(ring)) == [("green", "ring"), ("red", "heart")]


def test_a_tone_that_is_no_background_has_no_name():
    assert (
        read(render_free([("star", "red", 64, 64, 40, 0)], (200, 90, 40))).background == "unclear"
    )
