"""Training rows: the prompt formats, and targets on the right tokens only."""

import random

import pytest

torch = pytest.importorskip("torch")

from training import tokenizer as tk  # noqa: E402
from training.cells import code_count, scene_codes  # noqa: E402
from training.data import Mixture, Rows, collate  # noqa: E402
from training.scenes import training_scene  # noqa: E402


@pytest.fixture(scope="module")
def rows():
    return Rows(tk.train(texts=300))


@pytest.fixture
def scene():
    return training_scene(random.Random(0), count=2)


def learned(row):
    return [token for token, yes in zip(row.ids, row.learned, strict=True) if yes]


def test_a_drawing_row_learns_the_codes(rows, scene):
    row = rows.draw(scene, "a red circle")
    assert learned(row) == rows.codes(scene)
    assert row.ids[0] == tk.BOS
    assert row.ids[-65] == tk.BOI
    prompt = rows.tokenizer.decode(row.ids[:-64], skip_special_tokens=True)
    assert prompt == "a red circle Generate an image based on this description."


def test_the_unconditional_prompt_is_the_reference_one(rows, scene):
    assert rows.draw(scene, None).ids[:3] == [tk.BOS, tk.UNCONDITIONAL, tk.BOI]


def test_other_sizes_are_named(rows):
    scene = training_scene(random.Random(0), count=2, wide=True)
    row = rows.draw(scene, "a red circle")
    assert len(learned(row)) == 96
    words = "a red circleImage Size: Width is 96 Height is 64. Generate an image based on this"
    assert rows.tokenizer.decode(row.ids[:-96]).startswith(words)


def test_codes_follow_the_text_vocabulary(rows, scene):
    assert min(rows.codes(scene)) >= rows.tokenizer.get_vocab_size()
    assert max(rows.codes(scene)) < rows.offset + code_count()
    assert rows.codes(scene)[0] == rows.offset + scene_codes(scene)[0, 0]


def test_questions_share_the_picture_and_not_each_other(rows, scene):
    asked = [("What shape is red?", "circle"), ("How many?", "two")]
    row = rows.questions(scene, asked)
    batch = collate([row], 160)
    branch = torch.tensor(row.branch)
    first, second = (branch == 1).nonzero()[:, 0], (branch == 2).nonzero()[:, 0]
    assert row.positions[int(first[0])] == row.positions[int(second[0])]
    seen = batch.mask[0, 0]
    assert not seen[second][:, first].any()
    assert seen[second][:, branch.eq(0).nonzero()[:, 0]].all()
    alone = rows.questions(scene, asked[1:])
    assert [row.ids[int(i)] for i in second] == alone.ids[-len(second) :]
    answers = [*rows.text("circle"), tk.END_TURN, *rows.text("two"), tk.END_TURN]
    assert learned(row) == answers


def test_targets_predict_the_next_token(rows, scene):
    batch = collate([rows.caption(scene, "a red circle"), rows.chat("Hello", "Hi")], 96)
    flat = batch.ids.flatten()
    assert (flat[batch.targets + 1] == batch.labels).all()


def test_the_mixture_repeats_for_a_seed(rows):
    first, second = (Mixture(rows, 3).draw(4) for _ in range(2))
    assert torch.equal(first.ids, second.ids)
