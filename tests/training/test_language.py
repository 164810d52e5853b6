"""What is said about pictures: prompts, questions, conversations."""

import random

import pytest

from training.language import edits, questions, talk, words
from training.language.facts import Fact, Facts, caption
from training.language.prompts import prompt
from training.scenes import arrange
from training.world import COLOURS, SHAPES, Thing

RED_CIRCLE = Fact("circle", "red", "large", 0.2, 0.5, 0.37)
BLUE_STAR = Fact("star", "blue", "small", 0.8, 0.5, 0.25)
GREEN_STAR = Fact("star", "green", "small", 0.5, 0.2, 0.25)


def test_prompts_name_what_their_scene_shows():
    rng = random.Random(0)
    colours = {c: {c, *words.COLOUR_WORDS[c]} for c in COLOURS}
    for _ in range(300):
        asked = prompt(rng, strange=0)
        text = asked.text.lower()
        assert 1 <= len(asked.scene.things) <= 4
        named = [c for c, said in colours.items() if any(word in text for word in said)]
        assert asked.known
        assert named or len({t.colour for t in asked.scene.things}) >= 1


def test_prompts_are_many():
    rng = random.Random(1)
    texts = {prompt(rng).text for _ in range(1000)}
    assert len(texts) > 850


def test_a_prompt_without_a_known_word_shows_nothing():
    rng = random.Random(2)
    strange = [p for p in (prompt(rng, strange=1.0) for _ in range(200)) if not p.known]
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


def test_several_of_a_kind_are_counted_in_captions():
    stars = [Fact("star", "red", "small", x, 0.5, 0.25) for x in (0.2, 0.5, 0.8)]
    assert caption(Facts(tuple(stars), "white")) == ("three small red stars on a white background")
    assert caption(Facts((), "mint")) == "an empty mint background"


def test_edits_change_one_thing_at_a_time():
    rng = random.Random(5)
    scene = arrange([Thing("circle", "red", "large")], "white")
    for _ in range(200):
        said, changed = edits.edit(scene, rng)
        assert said
        assert len(changed.things) <= 4
        same = [t.pair for t in changed.things].count(("red", "circle"))
        assert same or len(changed.things) <= 1


def test_conversations_announce_what_they_draw():
    rng = random.Random(6)
    for _ in range(50):
        turns = talk.conversation(rng, 5, 4)
        assert len(turns) == 5
        assert sum((t.shown is not None) + (t.drawn is not None) for t in turns) <= 4
        for turn in turns:
            if turn.drawn:
                assert turn.reply == talk.announced(turn.drawn)


def test_known_words_hold_the_names_but_no_unknown_object():
    known = set(words.known_words())
    assert {*SHAPES, *COLOURS, "grey", "donut", "violet", "striped"} <= known
    assert not known & set(words.unknown_words())
    assert not known & {"cat", "house", "dog", "the"}
