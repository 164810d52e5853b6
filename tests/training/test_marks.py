"""Marks: what has been seen by the last code of each thing, and behind the picture."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from training.cells import scene_codes  # noqa: E402
from training.language.facts import facts_of  # noqa: E402
from training.marks import GROUPS, OUTSIDE, UNKNOWN, MarkHead, marks  # noqa: E402
from training.scenes import arrange  # noqa: E402
from training.world import BACKGROUNDS, SHAPES, Thing  # noqa: E402


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
    assert behind == (64, (*[UNKNOWN] * 4, 2, list(BACKGROUNDS).index("navy"), 0))


def test_a_picture_without_shapes_is_marked_as_such():
    codes = scene_codes(arrange([], "white"))
    ((at, labels),) = marks(codes, None)
    assert at == 64
    assert labels[4] == OUTSIDE
    assert set(labels) == {UNKNOWN, OUTSIDE}


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
