"""Marks: what has been seen by the last code of each thing, and behind the picture."""

import random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from training import tokenizer  # noqa: E402
from training.cells import scene_codes  # noqa: E402
from training.data import Documents  # noqa: E402
from training.language.facts import facts_of  # noqa: E402
from training.marks import (  # noqa: E402
    GROUPS,
    OUTSIDE,
    UNKNOWN,
    MarkHead,
    asked_for,
    in_code_order,
    marks,
    named,
)
from training.scenes import arrange, scattered_scene  # noqa: E402
from training.world import BACKGROUNDS, COLOURS, SHAPES, Thing  # noqa: E402


def test_a_thing_is_marked_at_its_last_code_and_the_picture_behind_its_codes():
    scene = arrange([Thing("square", "red", "large"), Thing("cross", "blue", "small")], "navy")
    first, second, behind = marks(scene_codes(scene), facts_of(scene))
    ends = {
        (thing.row + thing.span - 1) * 8 + thing.column + thing.span - 1: thing.shape
        for thing in scene.things
    }
    assert [at for at, _ in (first, second)] == sorted(ends)
    assert [SHAPES[labels[0]] for _, labels in (first, second)] == [ends[at] for at in sorted(ends)]
    assert [labels[4] for _, labels in (first, second)] == [1, 2]
    assert [list(COLOURS)[labels[7]] for _, labels in (first, second)] == ["blue", "red"]
    at, labels = behind
    assert at == 64
    assert labels[:8] == (*[UNKNOWN] * 4, 2, list(BACKGROUNDS).index("navy"), 0, UNKNOWN)
    assert set(labels[8:]) == {UNKNOWN}


def test_what_a_prompt_asks_for_is_what_its_things_share():
    one = arrange([Thing("star", "red", "large")], "navy", "striped")
    ground = list(BACKGROUNDS).index("navy")
    assert asked_for(facts_of(one))[:8] == (SHAPES.index("star"), 1, 1, 1, 1, ground, 1, 0)
    two = arrange([Thing("star", "red", "large"), Thing("star", "blue", "large")], "navy")
    assert asked_for(facts_of(two))[:8] == (
        *(SHAPES.index("star"), UNKNOWN, 1, 1),
        *(2, ground, 0, UNKNOWN),
    )
    nothing = (*[UNKNOWN] * 4, 0, ground, 0, UNKNOWN)
    assert asked_for(facts_of(arrange([], "navy", "plain", "empty")))[:8] == nothing


def test_a_plan_names_each_thing_in_order():
    things = [Thing("heart", "red", "large"), Thing("star", "blue", "small")]
    facts = facts_of(arrange(things, "white"))
    plan = asked_for(facts, plan=True)[8:]
    said = [
        value
        for t in facts.things
        for value in (SHAPES.index(t.shape), list(COLOURS).index(t.colour))
    ]
    assert plan == (*said, *[UNKNOWN] * 4)
    assert asked_for(facts)[8:] == (UNKNOWN,) * 8
    assert asked_for(facts)[:8] == asked_for(facts, plan=True)[:8]


def test_things_are_told_in_the_order_of_their_last_codes():
    rng = random.Random(0)
    for _ in range(50):
        scene = scattered_scene(rng, count=rng.randint(0, 4))
        facts, codes = facts_of(scene), scene_codes(scene).reshape(-1)
        assert in_code_order(codes, facts) == facts
        numbers = [labels[4] for _, labels in marks(codes, facts)[:-1]]
        told = [(labels[7], labels[0]) for _, labels in marks(codes, facts)[:-1]]
        assert numbers == list(range(1, len(facts.things) + 1))
        assert told == [
            (list(COLOURS).index(t.colour), SHAPES.index(t.shape)) for t in facts.things
        ]


def test_a_picture_without_shapes_is_marked_as_such():
    codes = scene_codes(arrange([], "white"))
    ((at, labels),) = marks(codes, None)
    assert at == 64
    assert labels[4] == OUTSIDE
    assert set(labels) == {UNKNOWN, OUTSIDE}


def test_a_question_is_marked_where_it_names_the_only_thing_of_its_name():
    things = [
        Thing("star", "red", "small"),
        Thing("star", "blue", "small"),
        Thing("heart", "red", "large"),
    ]
    facts = facts_of(arrange(things, "white", arrangement="pair_above"))

    def marked(question: str) -> list[tuple[str, str, str]]:
        return [
            (question[:end], list(COLOURS)[labels[7]], SHAPES[labels[0]])
            for end, labels in named(question, facts)
        ]

    assert marked("What colour is the heart?") == [("What colour is the heart", "red", "heart")]
    assert marked("Is the blue star left of the red star?") == [
        ("Is the blue star", "blue", "star"),
        ("Is the blue star left of the red star", "red", "star"),
    ]
    assert marked("what is blue?") == [("what is blue", "blue", "star")]
    assert marked("Where is the star? Is the red thing a ring? Is it a blue heart?") == []


def test_marks_stand_at_the_names_last_token():
    pytest.importorskip("tokenizers")
    scene = arrange([Thing("cross", "red", "small"), Thing("star", "cyan", "large")], "white")
    documents = Documents(tokenizer.train(texts=200))
    document = documents.seen(scene_codes(scene), facts_of(scene))
    before = len(document.marks)
    assert documents.ask(document, "is the star above it?", "no", 400, facts_of(scene))
    ((at, labels),) = document.marks[before:]
    root = sum(branch == 0 for branch in document.branch)
    assert documents.tokenizer.decode(document.ids[root : at + 1]).endswith("is the star")
    assert list(COLOURS)[labels[7]] == "cyan"


def test_unknown_labels_do_not_count():
    head = MarkHead(8)
    hidden = torch.randn(2, 8)
    labels = torch.full((2, len(GROUPS)), UNKNOWN)
    assert head.loss(hidden, labels) == 0
    labels[0, 0] = 3
    alone = torch.nn.functional.cross_entropy(
        head.linear(torch.nn.functional.rms_norm(hidden[:1], (8,)))[:, : GROUPS[0]],
        torch.tensor([3]),
    )
    assert torch.allclose(head.loss(hidden, labels), alone)
