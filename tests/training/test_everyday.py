"""The yardstick is whole, and what it calls right is right."""

from collections import Counter

import numpy as np
import pytest

from training import everyday
from training.everyday import as_reading, described, is_right, normalized, shown, wrong
from training.judge import read
from training.world import BACKGROUNDS, COLOURS, PAIRS, SHAPES, STYLES, render_free

KINDS = ("prompt", "question", "unknown", "conversation")
ENTRIES = {kind: everyday.load(kind) for kind in KINDS}
PICTURES = ENTRIES["prompt"] + [
    turn["picture"]
    for entry in ENTRIES["conversation"]
    for turn in entry["turns"]
    if turn["picture"]
]
ASKED = ENTRIES["question"] + [
    turn for entry in ENTRIES["conversation"] for turn in entry["turns"] if not turn["picture"]
]


def listed(value) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


def test_it_is_large_enough_and_repeats_nothing():
    sizes = {kind: len(entries) for kind, entries in ENTRIES.items()}
    assert sizes["prompt"] >= 320
    assert sizes["question"] >= 320
    assert sizes["unknown"] >= 60
    assert sizes["conversation"] == 50
    off_grid = Counter(entry["off_grid"] for entry in ENTRIES["question"])
    assert min(off_grid.values()) >= 160
    prompts = Counter(entry["prompt"] for entry in ENTRIES["prompt"] + ENTRIES["unknown"])
    assert max(prompts.values()) == 1
    assert all(4 <= len(entry["turns"]) <= 6 for entry in ENTRIES["conversation"])


def test_it_asks_for_every_pair():
    pairs = {
        (c, s)
        for entry in ENTRIES["prompt"]
        for group in entry["things"]
        for c in listed(group["colour"])
        for s in listed(group["shape"])
    }
    assert pairs == set(PAIRS)


def test_pictures_name_only_what_there_is():
    for picture in PICTURES:
        for group in picture["things"]:
            assert set(listed(group["colour"])) <= set(COLOURS)
            assert set(listed(group["shape"])) <= set(SHAPES)
            assert group.get("size") in (None, "small", "large")
        assert set(listed(picture["background"])) <= {*BACKGROUNDS, "any"}
        assert picture.get("style", "plain") in STYLES
        for first, _, *others in picture.get("relations", []):
            assert {first, *others} <= set(range(len(picture["things"])))


def test_every_answer_can_be_right():
    for entry in ENTRIES["question"]:
        reading = as_reading(entry["scene"])
        names = " and ".join(f"a {thing.colour} {thing.shape}" for thing in reading.things)
        said = [*entry.get("answers", []), names, "left", "right", "top", "bottom", "middle"]
        assert any(is_right(text, entry, reading) for text in said), entry
        assert not is_right("perhaps", entry, reading)
    for turn in ASKED:
        assert {"answers", "describe", "where"} & set(turn) or turn["picture"] is None


def test_pictures_that_are_asked_about_show_their_scene():
    scenes = [e["scene"] for e in ENTRIES["question"] if "palette" not in e["scene"]]
    for scene in scenes[::9]:
        reading, true = read(np.asarray(shown(scene))), as_reading(scene)
        assert sorted(t.pair for t in reading.things) == sorted(t.pair for t in true.things)
        assert reading.background == true.background


def drawn(*things, background="white"):
    return read(render_free([(*t, 40, 0) for t in things], background, size=(192, 128)))


RED = ("circle", "red", 40, 64)
BLUE = ("square", "blue", 140, 64)
BOTH = {
    "things": [{"colour": "red", "shape": "circle"}, {"colour": ["blue", "cyan"], "shape": None}],
    "background": None,
}


@pytest.mark.parametrize(
    ("reading", "changes", "fault"),
    [
        (drawn(RED, BLUE), {}, ""),
        (drawn(RED, BLUE, background="cream"), {}, ""),
        (drawn(RED, BLUE, background="navy"), {}, "background"),
        (drawn(RED, BLUE, background="navy"), {"background": ["black", "navy"]}, ""),
        (drawn(RED, BLUE, background="navy"), {"background": "any"}, ""),
        (drawn(), {}, "nothing drawn"),
        (drawn(RED), {}, "number of things"),
        (drawn(RED, ("square", "green", 140, 64)), {}, "colour"),
        (drawn(("star", "red", 40, 64), BLUE), {}, "shape"),
        (drawn(RED, BLUE), {"relations": [[0, "left of", 1]]}, ""),
        (drawn(RED, BLUE), {"relations": [[0, "right of", 1]]}, "relation"),
        (drawn(RED, BLUE), {"relations": [[0, "above", 1]]}, "relation"),
        (drawn(RED, BLUE), {"arrangement": "row"}, ""),
        (drawn(RED, BLUE), {"place": "left"}, ""),
        (drawn(RED, BLUE), {"place": "top left"}, "place"),
        (drawn(RED, BLUE), {"style": "striped"}, "style"),
    ],
)
def test_it_says_what_is_wrong_with_a_picture(reading, changes, fault):
    assert wrong(BOTH | changes, reading) == fault


def test_numbers_and_what_is_between():
    row = [("heart", "pink", x, 64) for x in (30, 96, 162)]
    hearts = {"things": [{"colour": None, "shape": "heart", "count": [2, 3]}], "background": None}
    assert wrong(hearts | {"arrangement": "row"}, drawn(*row)) == ""
    assert wrong(hearts, drawn(row[0])) == "number of things"
    middle = {
        "things": [
            {"colour": "red", "shape": None},
            {"colour": None, "shape": "heart", "count": [2]},
        ],
        "background": None,
        "relations": [[0, "between", 1]],
    }
    assert wrong(middle, drawn(row[0], ("star", "red", 96, 64), row[2])) == ""
    assert wrong(middle, drawn(row[0], row[1], ("star", "red", 162, 64))) == "relation"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("A red circle.", "red circle"),
        ("It is grey", "gray"),
        ("2", "two"),
        ("There are two", "two"),
        ("Yes, it is.", "yes"),
        ("No.", "no"),
        ("zero", "none"),
        ("in the upper left corner", "in top left corner"),
    ],
)
def test_answers_may_be_worded_freely(said, meant):
    assert normalized(said) == normalized(meant)


def test_a_description_names_all_things_and_no_others():
    reading = drawn(RED, (*RED[:2], 100, 100), BLUE)
    right = {"describe": True}
    assert is_right("two small red circles and a blue square on a white background", right, reading)
    assert is_right("A blue square, a red circle and a red circle.", right, reading)
    assert not is_right("a red circle and a blue square", right, reading)
    assert not is_right("two red circles and a blue square on a cream background", right, reading)
    assert described("a star to the left of three green crosses") == {
        (None, "star"): 1,
        ("green", "cross"): 3,
    }


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("on the left", True),
        ("left of the blue square", True),
        ("right of the blue square", False),
        ("in the middle", False),
        ("at the top", False),
        ("yes", False),
    ],
)
def test_a_place_may_be_told_in_the_picture_or_by_another_thing(said, right):
    assert is_right(said, {"where": 0}, drawn(RED, BLUE)) == right
