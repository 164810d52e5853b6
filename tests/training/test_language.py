"""What is said about pictures: prompts, questions, conversations."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from training.language import comparing, edits, questions, talk, together, words
from training.language.facts import Fact, Facts, caption
from training.language.prompts import prompt
from training.scenes import arrange
from training.world import COLOURS, SHAPES, Thing

RED_CIRCLE = Fact("circle", "red", "large", 0.2, 0.5, 0.37)
BLUE_STAR = Fact("star", "blue", "small", 0.8, 0.5, 0.25)
GREEN_STAR = Fact("star", "green", "small", 0.5, 0.2, 0.25)


@pytest.mark.parametrize("late", [False, True])
def test_prompts_name_what_their_scene_shows(late):
    rng, right = random.Random(0), []
    for _ in range(300):
        asked = prompt(rng, strange=0, late=late)
        assert asked.known
        assert 1 <= len(asked.scene.things) <= 4
        shown = {t.shape for t in asked.scene.things}
        said = re.findall(r"[a-z]+", asked.text.lower())
        right += [shape in shown for shape in SHAPES if shape in said]
    # Not all: "a circle with a hole" is a ring.
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("late", [False, True])
def test_prompts_are_many(late):
    rng = random.Random(1)
    texts = {prompt(rng, late=late).text for _ in range(1000)}
    assert len(texts) > 850


def test_late_prompts_may_end_in_a_question_mark():
    rng = random.Random(1)
    asked = [text for text in (prompt(rng, late=True).text for _ in range(1500)) if text[-1] == "?"]
    assert 10 < len(asked) < 200
    assert all(re.match("[a-z]+ (you|i|it|we|about) ", text.lower()) for text in asked)


@pytest.mark.parametrize("late", [False, True])
def test_a_prompt_without_a_known_word_shows_nothing(late):
    rng = random.Random(2)
    strange = [p for p in (prompt(rng, strange=1.0, late=late) for _ in range(200)) if not p.known]
    assert strange
    assert all(not p.scene.things and p.scene.background in ("white", "cream") for p in strange)


@pytest.mark.parametrize("kind", questions.QUESTIONS)
def test_every_kind_of_question_fits_some_picture(kind):
    two = Facts((RED_CIRCLE, BLUE_STAR), "white")
    three = Facts((RED_CIRCLE, BLUE_STAR, GREEN_STAR), "white")
    rng = random.Random(3)
    assert any(questions.question(facts, rng, kind)[1] for facts in (two, three) for _ in range(20))


def test_answers_agree_with_the_picture():
    facts = Facts((RED_CIRCLE, BLUE_STAR), "black", "striped")
    rng = random.Random(4)
    for _ in range(200):
        assert questions.question(facts, rng, "what")[1] == "a red circle left of a blue star"
        assert questions.question(facts, rng, "colour")[1] in ("red", "blue")
        assert questions.question(facts, rng, "shape")[1] in ("circle", "star")
    assert caption(facts) == (
        "a large red circle left of a small blue star on a striped black background"
    )
    assert (RED_CIRCLE.place, BLUE_STAR.place) == ("on the left", "on the right")


def test_which_of_several_is_the_one_that_is_meant():
    small = Fact("star", "blue", "small", 0.8, 0.5, 0.25)
    large = Fact("star", "red", "large", 0.2, 0.5, 0.37)
    facts, rng = Facts((large, small), "white"), random.Random(7)
    meant = {"larger": "red", "largest": "red", "left": "red", "smaller": "blue", "right": "blue"}
    seen = set()
    for _ in range(300):
        asked = comparing.which(facts, rng)
        if asked is None:
            continue
        text, answer = asked
        colour = next((c for word, c in meant.items() if word in text.split("?")[0].split()), None)
        if colour is None:
            continue
        seen.add(text.split()[0])
        if text.startswith("which"):
            assert answer == f"the {colour} star"
        elif text.startswith("what"):
            assert answer == colour
        else:
            assert answer == ("yes" if f"{colour}?" in text else "no")
    assert seen == {"which", "what", "is"}


def test_they_are_all_things():
    alike = Facts((BLUE_STAR, replace(BLUE_STAR, x=0.2)), "white")
    rng, found = random.Random(8), {}
    for _ in range(400):
        found |= dict([together.they(alike, rng) or ("", "")])
    assert found["are they blue?"] == found["are they stars?"] == "yes"
    assert found["are they side by side?"] == found["are these next to each other?"] == "yes"
    assert found["are they stacked?"] == found["do they touch?"] == "no"
    assert all(
        not text.endswith(("red?", "circles?")) or answer == "no" for text, answer in found.items()
    )


def test_several_of_a_kind_are_counted_in_captions():
    stars = [Fact("star", "red", "small", x, 0.5, 0.25) for x in (0.2, 0.5, 0.8)]
    assert caption(Facts(tuple(stars), "white")) == ("three small red stars on a white background")
    assert caption(Facts((), "mint")) == "an empty mint background"


@pytest.mark.parametrize("late", [False, True])
def test_edits_change_one_thing_at_a_time(late):
    rng = random.Random(5)
    scene = arrange([Thing("circle", "red", "large")], "white")
    for _ in range(200):
        said, changed = edits.edit(scene, rng, late=late)
        assert said
        assert len(changed.things) <= 4
        same = [t.pair for t in changed.things].count(("red", "circle"))
        assert same or len(changed.things) <= 1


def test_late_edits_change_one_of_several_of_a_kind():
    rng, said = random.Random(9), set()
    scene = arrange([Thing("circle", "red", "large")] * 2, "white")
    for _ in range(600):
        text, changed = edits.edit(scene, rng, late=True)
        text = text.lower()
        if re.search("(one of them|second one|2nd one)", text) and "another" not in text:
            said.add(text)
            pairs = [t.pair for t in changed.things]
            assert pairs[0] == ("red", "circle")
            assert pairs[1:] != [("red", "circle")]
    assert len(said) > 10


@pytest.mark.parametrize("late", [False, True])
def test_conversations_announce_what_they_draw(late):
    rng = random.Random(6)
    for _ in range(50):
        turns = talk.conversation(rng, 5, 4, late=late)
        assert len(turns) == 5
        assert sum((t.shown is not None) + (t.drawn is not None) for t in turns) <= 4
        for turn in turns:
            if turn.drawn:
                assert turn.reply == talk.announced(turn.drawn)


def test_known_words_hold_the_names_but_no_unknown_object():
    known = set(words.known_words())
    assert {*SHAPES, *COLOURS, "grey", "donut", "violet", "striped"} <= known
    assert not known & set(words.unknown_words())
    assert not known & set(words.everyday_words())
    assert not known & {"cat", "house", "dog", "the"}
