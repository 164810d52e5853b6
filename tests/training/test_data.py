"""Training rows: the prompt formats, and targets on the right tokens only."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from training import data, outside, shown  # noqa: E402
from training import tokenizer as tk  # noqa: E402
from training.cells import code_count, scene_codes  # noqa: E402
from training.language.facts import facts_of  # noqa: E402
from training.language.talk import Turn, conversation  # noqa: E402
from training.marks import asked_for  # noqa: E402
from training.scenes import arrange, random_scene  # noqa: E402
from training.world import Thing  # noqa: E402


@pytest.fixture(scope="module")
def documents():
    return data.Documents(tk.train(texts=300))


@pytest.fixture
def scene():
    return random_scene(random.Random(0), count=2)


@pytest.fixture
def mixture(documents):
    def encode(pictures):
        return np.zeros((len(pictures), 64), dtype=np.int64)

    mixture = data.Mixture(documents, encode, 0)
    mixture.outside = np.zeros((2, 64), dtype=np.int64)
    return mixture


def learned(document):
    return [token for token, yes in zip(document.ids, document.learned, strict=True) if yes]


def test_a_drawing_learns_the_codes(documents, scene):
    document = documents.draw(scene, "a red circle")
    assert learned(document) == documents.picture(scene_codes(scene))
    assert document.ids[0] == tk.BOS
    assert document.ids[-65] == tk.BOI
    prompt = documents.tokenizer.decode(document.ids[:-64], skip_special_tokens=True)
    assert prompt == "a red circle Generate an image based on this description."


@pytest.mark.parametrize(("kind", "cells"), [("guided", 64), ("wide", 96)])
def test_guided_rows_come_in_pairs_of_one_picture(mixture, kind, cells):
    batch = getattr(mixture, kind)(1456)
    asked, alone = batch.code_labels.view(-1, 2, cells).unbind(1)
    assert len(asked) >= 4
    assert torch.equal(asked, alone)
    assert ((batch.ids == tk.UNCONDITIONAL).any(1) == torch.arange(len(batch.ids)) % 2).all()


def test_a_prompt_is_marked_where_its_picture_begins(documents, scene):
    document = documents.draw(scene, "a red circle")
    ((at, labels),) = document.marks
    assert document.ids[at] == tk.BOI
    assert labels == asked_for(facts_of(scene))
    assert not documents.draw(scene, None).marks


def test_what_guidance_makes_of_a_pair_is_learned():
    from training.models.train_language_model import guided_loss

    labels = torch.randint(0, 9, (64,)).repeat(2)
    logits = torch.zeros(2 * 64, 9)
    assert torch.isclose(guided_loss(logits, labels, 64), torch.tensor(9.0).log())
    logits[:64].scatter_(1, labels[:64, None], 5.0)  # the prompt alone makes it likelier
    assert guided_loss(logits, labels, 64) < 0.01
    assert guided_loss(logits.roll(64, 0), labels, 64) > 5


def test_pictures_to_look_at_have_marks_alone(mixture):
    batch = mixture.look(1456)
    assert batch.mask is None
    assert len(batch.codes) == len(batch.words) == 0
    behind = batch.mark_labels[batch.mark_labels[:, 3] == -100]  # every picture has one
    assert len(behind) == len(batch.ids) >= 18
    assert len(batch.marked) > len(behind)


def test_the_unconditional_prompt_is_the_reference_one(documents, scene):
    assert documents.draw(scene, None).ids[:3] == [tk.BOS, tk.UNCONDITIONAL, tk.BOI]


def test_other_sizes_are_named(documents):
    wide = random_scene(random.Random(1), count=1, wide=True)
    text = documents.tokenizer.decode(documents.draw(wide, "a star").ids[:-96])
    assert "a starImage Size: Width is 192 Height is 128. Generate an image" in text


def test_questions_share_a_picture_and_cannot_see_each_other(documents, scene):
    document = documents.seen(scene_codes(scene))
    assert documents.ask(document, "is it red?", "yes", 224)
    assert documents.ask(document, "what is this?", "a red circle", 224)
    assert not documents.ask(document, "what is this?", "a red circle", len(document.ids) + 3)
    root = document.branch.count(0)
    firsts = [document.branch.index(b) for b in (1, 2)]
    assert [document.positions[i] for i in firsts] == [root, root]
    batch = data.collate([[document]], 224, documents.offset)
    assert not batch.mask[0, 0, firsts[1], firsts[0]]
    assert batch.mask[0, 0, firsts[1], :root].all()
    assert batch.word_labels.tolist() == learned(document)


def test_a_conversation_learns_the_models_turns(documents):
    red = arrange([Thing("circle", "red", "large")], "white")
    turns = [Turn("draw a red circle", "Here is a red circle.", drawn=red), Turn("thanks", "You!")]
    document = documents.talk(turns, 416)
    text = documents.tokenizer.decode(
        [i for i in document.ids if i < documents.offset], skip_special_tokens=False
    )
    assert text == (
        "<bos><start_of_turn>user\ndraw a red circle<end_of_turn>\n<start_of_turn>model\n"
        "<boi><eoi>Here is a red circle.<end_of_turn>\n<eos><start_of_turn>user\nthanks"
        "<end_of_turn>\n<start_of_turn>model\nYou!<end_of_turn>"
    )
    assert learned(document)[0] == tk.BOI
    assert learned(document)[1:65] == documents.picture(scene_codes(red))
    assert learned(document)[-1] == tk.END_TURN


def test_conversations_are_cut_at_turns(documents):
    for seed in range(20):
        document = documents.talk(conversation(random.Random(seed), 8, 4), 300)
        assert len(document.ids) <= 300
        assert document.ids[-1] == tk.END_TURN


@pytest.mark.parametrize("kind", ["draw", "wide", "seen", "talk"])
def test_batches_hold_rows_of_one_length(mixture, documents, kind):
    batch = getattr(mixture, kind)(1300)
    assert batch.ids.ndim == 2
    assert batch.ids.numel() <= 1300
    assert batch.ids.max() < documents.offset + code_count()
    flat = batch.ids.flatten()
    # What is learned is what follows, except where a branch begins behind its root.
    assert torch.equal(flat[batch.words + 1], batch.word_labels)
    assert torch.equal(flat[batch.codes + 1] - documents.offset, batch.code_labels)


def test_pictures_that_people_show_fit_the_model():
    rng = random.Random(0)
    for _ in range(30):
        picture, facts = shown.free_picture(rng)
        assert picture.shape == (128, 128, 3)
        assert len(facts.things) <= 4
    pool = outside.outside_pool(10, 0)
    assert all(p.shape == (128, 128, 3) and p.dtype == np.uint8 for p in pool)
