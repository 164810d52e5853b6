"""What a user of the Python API may rely on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import liquid_mlx
from liquid_mlx import memory
from liquid_mlx.errors import (
    CheckpointError,
    HubError,
    ImageError,
    LiquidError,
    PromptError,
    SettingsError,
)
from liquid_mlx.images import read_settings
from tests.conftest import CASES, GOLDEN

PHOTO = GOLDEN / "images" / "photo.jpg"


@pytest.fixture(scope="module")
def liquid(converted):
    return liquid_mlx.load(converted("gemma_tiny", sizes=("128x128", "80x48")))


@pytest.fixture(scope="module", params=CASES)
def any_liquid(request, converted):
    return liquid_mlx.load(converted(request.param))


def test_a_picture_has_pixels_codes_and_settings(any_liquid):
    (picture,) = any_liquid.generate_image("a small boat", seed=3)
    size = any_liquid.config.sizes[0]
    assert picture.image.size == (size.width, size.height)
    assert picture.codes.shape == any_liquid.config.grid(size)
    assert picture.codes.dtype == np.int32
    assert 0 <= picture.codes.min() <= picture.codes.max() < any_liquid.config.vqgan.n_embed
    assert (picture.settings.prompt, picture.settings.seed) == ("a small boat", 3)
    assert picture.settings.guidance == any_liquid.config.recommended.guidance == 7.0


def test_the_picture_is_its_decoded_codes(liquid):
    (picture,) = liquid.generate_image("a boat", seed=1, width=80)
    assert picture.image.size == (80, 48)
    assert picture.image.tobytes() == liquid.decode(picture.codes).tobytes()


def test_a_seed_repeats_and_another_seed_differs(liquid):
    first, again, other = (liquid.generate_image("a boat", seed=s)[0].codes for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_seed_repeats_in_a_worker_thread(liquid, converted):
    expected = liquid.generate_image("a boat", seed=5)[0]
    answer = liquid.answer(PHOTO, "what is it", max_tokens=8)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(lambda: liquid.generate_image("a boat", seed=5)[0]).result()
        np.testing.assert_array_equal(there.codes, expected.codes)
        assert there.image.tobytes() == expected.image.tobytes()
        assert pool.submit(liquid.answer, PHOTO, "what is it", max_tokens=8).result() == answer
        loaded = pool.submit(liquid_mlx.load, converted("llama_tiny")).result()
    assert loaded.generate_image("a boat", seed=5)[0].codes.shape == (4, 4)


def test_two_threads_do_not_disturb_each_other(liquid):
    expected = {q: liquid.answer(PHOTO, q, max_tokens=12) for q in ("what", "who", "where")}
    got: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda q=q: got.update({q: liquid.answer(PHOTO, q, max_tokens=12)}))
        for q in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_picture_i_of_count_can_be_drawn_alone(any_liquid):
    together = any_liquid.generate_image("a boat", seed=7, count=3)
    for i, picture in enumerate(together):
        assert picture.settings.seed == 7 + i
        alone = any_liquid.generate_image("a boat", seed=picture.settings.seed)[0]
        np.testing.assert_array_equal(alone.codes, picture.codes)


def test_a_seed_not_given_is_drawn_and_told(liquid):
    first, other = (liquid.generate_image("a boat", width=80)[0] for _ in range(2))
    assert first.settings.seed != other.settings.seed
    again = liquid.generate_image("a boat", width=80, seed=first.settings.seed)[0]
    np.testing.assert_array_equal(again.codes, first.codes)


def test_global_random_state_is_neither_read_nor_moved(liquid):
    mx.random.seed(1)
    first = liquid.generate_image("a boat", seed=2, width=80)[0].codes
    after = mx.random.uniform(shape=(3,)).tolist()
    mx.random.seed(1)
    assert mx.random.uniform(shape=(3,)).tolist() == after
    np.testing.assert_array_equal(liquid.generate_image("a boat", seed=2, width=80)[0].codes, first)


def test_steps_count_up_and_their_codes_grow_into_the_picture(liquid):
    steps = list(liquid.stream_image("a boat", seed=4, width=80))
    final = steps[-1].images()[0].codes
    assert [step.position for step in steps] == list(range(1, 16))
    assert {step.total for step in steps} == {15}
    for step in steps:
        np.testing.assert_array_equal(step.codes, final.reshape(-1)[: step.position])
    assert steps[3].images() == []
    assert steps[11].images()[0].image.size == (80, 32)


def test_temperature_0_takes_the_likeliest_whatever_the_seed(liquid):
    pictures = [liquid.generate_image("a boat", temperature=0, seed=s)[0] for s in (1, 2)]
    np.testing.assert_array_equal(pictures[0].codes, pictures[1].codes)


def test_guidance_of_1_or_less_is_plain_conditional(liquid):
    codes = [liquid.generate_image("a boat", guidance=g, seed=3)[0].codes for g in (1, 0.2, 0, 3)]
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[0], codes[2])
    assert (codes[0] != codes[3]).any()


def test_a_saved_picture_carries_its_settings_unless_told_not_to(liquid, tmp_path):
    (picture,) = liquid.generate_image("a böat", seed=9, width=80)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", metadata=False)
    assert read_settings(tmp_path / "a.png") == picture.settings.to_dict()
    assert b"b\xc3\xb6at" not in (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "b.png").tobytes() == picture.image.tobytes()


def test_answers_never_hold_image_ids_and_stop_at_stop_ids(any_liquid):
    offset = any_liquid.config.image_offset
    for temperature in (0.0, 1.5):
        steps = list(
            any_liquid.stream_answer(PHOTO, "what", max_tokens=24, temperature=temperature, seed=1)
        )
        tokens = [step.token for step in steps]
        assert len(tokens) <= 24
        assert all(0 <= token < offset for token in tokens)
        stops = {*any_liquid.config.eos_ids, any_liquid.config.special["end_of_turn"]}
        assert not stops & set(tokens)


def test_greedy_answers_equal_the_references(any_liquid, request):
    name = request.node.callspec.params["any_liquid"]
    arrays = np.load(GOLDEN / name / "golden_llm.npz")
    facts = liquid_mlx.files.read_json(GOLDEN / name / "golden_llm.json")
    stops = {*any_liquid.config.eos_ids, any_liquid.config.special["end_of_turn"]}
    for k, one in enumerate(facts["i2t"]):
        expected, margin = arrays[f"i2t/{k}/text_tokens"], arrays[f"i2t/{k}/text_margin"]
        stop = min([*np.flatnonzero(margin < 1e-4), len(expected)])
        ends = [i for i, token in enumerate(expected) if int(token) in stops]
        stop = min([stop, *ends])
        picture = GOLDEN / "images" / one["image"]
        steps = any_liquid.stream_answer(picture, one["question"], max_tokens=24, exif=False)
        if one["image_size"] == any_liquid.config.vqgan.resolution:
            tokens = [step.token for step in steps]
            assert tokens[:stop] == expected[:stop].tolist()
            assert stop > 0


def test_more_questions_about_a_picture_get_the_same_answers_as_alone(liquid, converted):
    questions = ["what is it", "what is it made of", "who"]
    row = [liquid.answer(PHOTO, q, max_tokens=10) for q in questions]
    for question, answer in zip(questions, row, strict=True):
        fresh = liquid_mlx.load(converted("gemma_tiny", sizes=("128x128", "80x48")))
        assert fresh.answer(PHOTO, question, max_tokens=10) == answer


MANY = ["what is it", "who", "what is it made of, and what stands behind it", "why"]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_questions_asked_together_get_the_same_answers_as_alone(
    any_liquid, temperature, monkeypatch
):
    settings = {"max_tokens": 10, "temperature": temperature}
    steps = list(any_liquid.stream_answer(PHOTO, MANY[0], seed=7, **settings))
    stop = {*any_liquid.engine.stop, steps[4].token}  # so that answers end at different places
    monkeypatch.setattr(any_liquid.engine, "stop", stop)
    alone = [any_liquid.answer(PHOTO, q, seed=7 + i, **settings) for i, q in enumerate(MANY)]
    assert any_liquid.answers(PHOTO, MANY, seed=7, **settings) == alone
    assert any_liquid.answers(PHOTO, MANY[::-1], seed=[10, 9, 8, 7], **settings) == alone[::-1]
    assert any_liquid.answers(PHOTO, MANY[1:2], seed=8, **settings) == alone[1:2]
    assert any_liquid.answers(PHOTO, []) == []


def test_an_answer_near_the_end_of_the_context_is_as_long_as_alone(liquid, monkeypatch):
    shared, rest = liquid.prompts.question(liquid.encode(PHOTO), MANY[2])
    backbone = replace(liquid.config.backbone, max_position_embeddings=len(shared) + len(rest) + 3)
    monkeypatch.setattr(liquid.engine, "config", replace(liquid.config, backbone=backbone))
    monkeypatch.setattr(liquid.engine, "stop", set())
    steps = [list(liquid.stream_answer(PHOTO, question, max_tokens=10)) for question in MANY]
    assert min(map(len, steps)) == 3
    assert max(map(len, steps)) == 10
    alone = ["".join(step.text for step in each) for each in steps]
    assert liquid.answers(PHOTO, MANY, max_tokens=10) == alone


def test_as_many_questions_are_answered_at_once_as_memory_allows(liquid, monkeypatch):
    expected = liquid.answers(PHOTO, MANY, max_tokens=10)
    shared, rest = liquid.prompts.question(liquid.encode(PHOTO), MANY[2])
    length = len(shared) + len(rest) + 10
    row = memory.kv_bytes(liquid.config.backbone, 1, length, mx.float32)
    used = memory.weight_bytes(liquid.engine.backbone, mx.float32)
    used += memory.weight_bytes(liquid.vqgan, mx.float32)
    rows, write = [], type(liquid.engine).write
    monkeypatch.setattr(
        type(liquid.engine),
        "write",
        lambda self, shared, rests, *a, **k: (
            rows.append(len(rests)) or write(self, shared, rests, *a, **k)
        ),
    )
    for have, batches in (
        (used + 2 * 4 * row, [4]),
        (used + 2 * 3 * row, [3, 1]),
        (used + 2 * 3 * row - 1, [2, 2]),
        (used - 5, [1, 1, 1, 1]),
    ):
        monkeypatch.setattr(memory, "available", lambda have=have: have)
        assert liquid.answers(PHOTO, MANY, max_tokens=10) == expected
        assert rows == batches
        rows.clear()
    monkeypatch.setattr(memory, "available", lambda: used + 1000 * row)
    liquid.answers(PHOTO, MANY * 5, max_tokens=1)
    assert rows == [16, 4]


@pytest.mark.parametrize(
    ("questions", "settings", "error"),
    [
        ("what", {}, PromptError),
        (["what", " "], {}, PromptError),
        (["what", "a " * 10000], {}, PromptError),
        (["what", "who"], {"seed": [1]}, SettingsError),
        (["what", "who"], {"seed": [1, -1]}, SettingsError),
        (["what", "who"], {"max_tokens": 0}, SettingsError),
        (["what", "who"], {"top_p": 0.0}, SettingsError),
    ],
)
def test_bad_lists_of_questions_are_refused(liquid, questions, settings, error):
    with pytest.raises(error):
        liquid.answers(PHOTO, questions, **settings)


def test_an_abandoned_answer_leaves_the_next_one_alone(liquid):
    expected = liquid.answer(PHOTO, "what", max_tokens=10)
    stream = liquid.stream_answer(PHOTO, "who is it", max_tokens=10)
    next(stream)
    assert liquid.answer(PHOTO, "what", max_tokens=10) == expected
    next(stream)
    stream.close()
    assert liquid.answer(PHOTO, "what", max_tokens=10) == expected


def test_a_conversation_goes_on_from_what_was_said(liquid):
    messages = [{"role": "user", "content": "hello"}]
    reply = liquid.chat(messages, max_tokens=6)
    messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "why"}]
    kept = liquid.chat(messages, max_tokens=6)
    liquid.answer(PHOTO, "something else", max_tokens=2)
    assert liquid.chat(messages, max_tokens=6) == kept


def test_logits_cover_the_whole_vocabulary(any_liquid):
    logits = any_liquid.logits([1, 2, 3])
    assert logits.shape == (3, any_liquid.config.backbone.vocab_size)
    assert logits.dtype == mx.float32
    np.testing.assert_allclose(np.array(any_liquid.logits([1, 2])), np.array(logits[:2]), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": -0.1}, SettingsError),
        ({"temperature": float("nan")}, SettingsError),
        ({"top_p": 0.0}, SettingsError),
        ({"top_p": 1.1}, SettingsError),
        ({"top_k": -1}, SettingsError),
        ({"guidance": float("inf")}, SettingsError),
        ({"guidance": -1}, SettingsError),
        ({"seed": -1}, SettingsError),
        ({"seed": 2**32}, SettingsError),
        ({"count": 0}, SettingsError),
        ({"width": 64}, SettingsError),
        ({"width": 80, "height": 128}, SettingsError),
        ({"prompt": " "}, PromptError),
        ({"prompt": "a " * 10000}, PromptError),
    ],
)
def test_bad_settings_are_refused_before_anything_is_drawn(liquid, settings, error):
    with pytest.raises(error):
        liquid.stream_image(**{"prompt": "a boat", **settings})


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": -1}, SettingsError),
        ({"max_tokens": 0}, SettingsError),
        ({"question": ""}, PromptError),
        ({"question": "a " * 10000}, PromptError),
        ({"picture": "nowhere.png"}, ImageError),
    ],
)
def test_bad_questions_are_refused(liquid, settings, error):
    with pytest.raises(error):
        liquid.stream_answer(**{"picture": PHOTO, "question": "what", **settings})


@pytest.mark.parametrize(
    "codes", [[1, 2], [[0.5]], [[-1]], [[512]], [[]], np.zeros((1, 1, 1), int)]
)
def test_codes_that_are_none_are_refused(liquid, codes):
    with pytest.raises(ImageError):
        liquid.decode(np.array(codes))


@pytest.mark.parametrize("ids", [[], [-1], [1024]])
def test_ids_outside_the_vocabulary_are_refused(liquid, ids):
    with pytest.raises(PromptError):
        liquid.logits(ids)


def test_models_that_are_not_there_are_refused(tmp_path):
    for name in ("no-such-folder", "./nowhere", str(tmp_path / "none")):
        with pytest.raises(HubError, match="no model folder"):
            liquid_mlx.load(name)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        liquid_mlx.load(tmp_path)
    assert issubclass(HubError, LiquidError)


def test_a_repo_that_cannot_be_reached_is_explained(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="not on this machine"):
        liquid_mlx.load("nobody/nothing-here")
