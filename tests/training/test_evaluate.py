"""Measuring tells right from wrong, with a model that does as it is told."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from training import evaluate
from training.everyday import OUTSIDE
from training.measures import material
from training.measures.sheets import Tile, draw_sheet
from training.world import FreeThing, render_free


class Obedient:
    """Draws one picture whatever is asked, and says one text."""

    def __init__(self, *things, said=""):
        pixels = render_free([FreeThing(s, c, x, 64, 40) for c, s, x in things])
        self.image, self.said = Image.fromarray(pixels), said

    def generate_image(self, prompt, count, seed, **settings):
        return [SimpleNamespace(image=self.image)] * count

    def caption(self, picture, **settings):
        return self.said

    def answers(self, picture, questions, **settings):
        return [self.said] * len(questions)


def test_drawing_counts_what_is_right_and_shows_what_is_not():
    liquid = Obedient(("red", "star", 30), ("blue", "ring", 90))
    right = {"things": [material.group("red", "star"), material.group("blue", "ring")]}
    wrong = {"things": [material.group("red", "star", 2)]}
    prompts = [("a", right | {"background": None}), ("b", wrong | {"background": None})]
    found = evaluate.measure_drawing(liquid, prompts, count=2)
    assert found.right == [True, True, False, False]
    summary = found.summary()
    assert summary["right"] == 0.5
    assert summary["clean"] == 1
    assert summary["wrong"] == {"colour and shape: b": 2}
    assert [tile.text for tile in found.tiles] == ["colour and shape: b"] * 2


def test_everyday_prompts_are_not_shown():
    found = evaluate.measure_prompts(Obedient(), share=0.02)
    assert not any(found.right)
    assert set(found.wrongs) == {"nothing drawn"}


def test_pairs_are_counted_by_colour_and_shape():
    found = evaluate.measure_pairs(Obedient(("red", "star", 64)), count=2)
    assert sum(found.right) == 2
    assert sum(found.kinds["pairs that are always right"]) == 1
    assert sum(found.kinds["red"]) == sum(found.kinds["star"]) == 2


def test_unknown_prompts_want_an_empty_picture():
    assert all(evaluate.measure_unknown(Obedient(), share=0.1).right)
    assert not any(evaluate.measure_unknown(Obedient(("red", "star", 64)), share=0.1).right)


def test_questions_and_captions_are_compared_with_the_picture():
    found = evaluate.measure_questions(Obedient(said="yes"), share=0.3, off_grid=False)
    assert 0.1 < np.mean(found.right) < 0.5
    assert not any(evaluate.measure_captions(Obedient(said="a star"), 6, off_grid=True).right)


def test_pictures_from_outside_want_the_one_sentence():
    for package in ("skimage", "sklearn", "matplotlib", "pywt"):
        pytest.importorskip(package)
    assert all(evaluate.measure_outside(Obedient(said=OUTSIDE), 24).right)
    assert not any(evaluate.measure_outside(Obedient(said="a red star"), 2).right)


def test_a_conversation_is_right_if_all_its_turns_are(monkeypatch):
    star = np.asarray(Obedient(("red", "star", 64)).image)
    picture = {"things": [material.group("red", "star")], "background": None}
    turns = [
        {"user": "a red star", "picture": picture},
        {"user": "what is it?", "picture": None, "answers": ["red star"]},
        {"user": "thanks", "picture": None},
    ]
    entries = [{"turns": turns}] * 4
    replies = iter(
        [
            [("", star), ("A red star.", None), ("", None)],
            [("", star), ("blue", None), ("", None)],
            [("", None), ("a red star", None), ("", None)],
            [("", star), ("a red star", star), ("", None)],
        ]
    )

    def converse(liquid, turns, seed):
        return [(turn, *reply) for turn, reply in zip(turns, next(replies), strict=True)]

    monkeypatch.setattr(evaluate, "converse", converse)
    monkeypatch.setattr(evaluate.everyday, "load", lambda kind: entries)
    found = evaluate.measure_conversations(None, share=1)
    assert found.right == [True, False, False, False]
    assert found.wrongs == ["answer", "no picture", "a picture that nobody asked for"]


def test_made_up_prompts_say_what_they_want():
    (text, picture), *_ = material.several(1, 2)
    first, second = picture["things"]
    assert text.split(" and ")[1].endswith(f"{second['colour']} {second['shape']}")
    assert first["shape"] in text
    texts = [text for text, _ in material.counts(6)]
    assert all(text.split()[-1].endswith("s") for text in texts)
    assert len({picture["background"] for _, picture in material.on_backgrounds(14)}) == 14
    words = dict(material.other_words())
    assert words["a donut"]["things"] == [{"colour": None, "shape": "ring", "count": [1]}]
    assert [thing["colour"] for thing in words["a crimson circle"]["things"]] == ["red"]


def test_a_sheet_holds_every_tile(tmp_path):
    tile = Tile.of(np.zeros((128, 192, 3), np.uint8), "black")
    draw_sheet([tile] * 3, tmp_path / "sheet.png", columns=2)
    assert Image.open(tmp_path / "sheet.png").size == (2 * 208, 2 * 194)
