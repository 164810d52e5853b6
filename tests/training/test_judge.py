"""The judge reads drawn pictures rightly, and tells when something is wrong."""

import random

import numpy as np
import pytest

from training.judge import read, verdict
from training.scenes import PAIRS, random_scene
from training.world import COLOURS, SHAPES, SPANS, Scene, Thing, render


def one(shape="star", colour="blue", size="large") -> Scene:
    return Scene("one", (Thing(shape, colour, size, 2, 2),), "white", "plain")


def test_it_reads_what_was_drawn():
    rng = random.Random(0)
    for number in range(60):
        scene = random_scene(rng, count=number % 4, wide=number % 5 == 0, pairs=PAIRS)
        assert verdict(scene, render(scene))["all"], scene


@pytest.mark.parametrize("size", SPANS)
def test_it_tells_every_shape_and_colour(size):
    for number, shape in enumerate(SHAPES):
        colour = list(COLOURS)[number]
        seen = read(render(one(shape, colour, size))).things
        assert [(t.shape, t.colour, t.size) for t in seen] == [(shape, colour, size)]


def test_it_sees_through_noise():
    noise = np.random.default_rng(0).normal(0, 8, (64, 64, 3))
    picture = (render(one()) + noise).clip(0, 255).astype(np.uint8)
    assert verdict(one(), picture)["all"]


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        (one(shape="heart"), "shapes"),
        (one(colour="red"), "colours"),
        (one(size="small"), "sizes"),
        (Scene("one", one().things, "cream", "plain"), "ground"),
        (Scene("one", one().things, "white", "striped"), "style"),
        (Scene("empty", (), "white", "plain"), "count"),
    ],
)
def test_it_notices_one_wrong_fact(other, fact):
    facts = verdict(one(), render(other))
    assert not facts[fact]
    assert not facts["all"]


def test_a_blob_is_unclear():
    picture = render(Scene("empty", (), "white", "plain"))
    picture[10:14, 5:60] = COLOURS["red"]
    assert [t.shape for t in read(picture).things] == ["unclear"]


def test_it_notices_swapped_places():
    left, right = Thing("star", "blue", "small", 1, 3), Thing("ring", "red", "small", 5, 3)
    scene = Scene("beside", (left, right), "white", "plain")
    swapped = Scene(
        "beside",
        (Thing("ring", "red", "small", 1, 3), Thing("star", "blue", "small", 5, 3)),
        "white",
        "plain",
    )
    assert verdict(scene, render(scene))["all"]
    facts = verdict(scene, render(swapped))
    assert not facts["relation"]
    assert facts["pairs"]
