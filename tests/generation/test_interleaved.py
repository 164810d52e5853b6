"""Answers with pictures in them, against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.errors import ImageError, PromptError
from liquid_mlx.generation.sampling import fold_in, sample
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import ImageParams
from liquid_mlx.results import ImageStep, TextStep

ASKED = [{"role": "user", "content": "draw a boat"}]
IMAGES = ImageParams(guidance=3.0, temperature=0.9, top_k=50, top_p=0.95)
TEXT = {"max_tokens": 14, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
SEED = 11


@pytest.fixture(scope="module")
def folder(converted):
    return converted("gemma_tiny", interleaved=True)


@pytest.fixture
def liquid(folder, monkeypatch):
    """A model whose ``<boi>`` and ``<end_of_turn>`` are tokens that it does write, here."""
    liquid = load(folder, dtype="float32")
    plain = load(folder, dtype="float32")
    object.__setattr__(plain.config, "interleaved", False)
    plain.engine.stop = set()
    tokens = [step.token for step in plain.stream_chat(ASKED, seed=SEED, **TEXT)]
    monkeypatch.setitem(liquid.prompts._special, "boi", tokens[3])
    liquid.engine.stop = set()
    return liquid


def logits(liquid, ids, head):
    cache = KVCache.empty(liquid.config.backbone, 1, len(ids), mx.float32)
    return head(liquid.engine.backbone(mx.array([ids]), cache)[:, -1])


def plain_loop(liquid, ids, stop=()):
    """All ids of the answer, every one from a pass over everything before it."""
    config, engine = liquid.config, liquid.engine
    (boi,), eoi = liquid.prompts.opened(), config.special["eoi"]
    size = config.sizes[0]
    unconditional = liquid.prompts.unconditional(size)
    rows, columns = config.grid(size)
    written: list[int] = []
    pictures = 0
    for position in range(TEXT["max_tokens"]):
        key = fold_in(mx.random.key(SEED), position)
        kept = {name: TEXT[name] for name in ("temperature", "top_k", "top_p")}
        token = int(sample(logits(liquid, ids + written, engine.text_head), key, **kept).item())
        written.append(token)
        if token in stop:
            break
        if token == boi and position + 1 < TEXT["max_tokens"]:
            pictures += 1
            codes: list[int] = []
            for place in range(rows * columns):
                code = sample(
                    logits(liquid, ids + written + codes, engine.image_head),
                    fold_in(mx.random.key(SEED + pictures), place),
                    unconditional=logits(liquid, unconditional + codes, engine.image_head),
                    guidance=IMAGES.guidance,
                    temperature=IMAGES.temperature,
                    top_k=IMAGES.top_k,
                    top_p=IMAGES.top_p,
                )
                codes.append(int(code.item()) + config.image_offset)
            written += [*codes, eoi]
    return written


def ids_of(liquid, steps):
    """The ids that typed steps stand for."""
    written: list[int] = []
    for step in steps:
        if isinstance(step, TextStep):
            written.append(step.token)
        elif step.position == step.total:
            written += liquid.prompts.opened() + liquid.prompts.drawn(step.codes)
    return written


def test_an_answer_with_pictures_is_that_of_a_plain_loop(liquid):
    expected = plain_loop(liquid, liquid.prompts.chat(ASKED))
    steps = list(liquid.stream_chat(ASKED, image_params=IMAGES, seed=SEED, **TEXT))
    assert ids_of(liquid, steps) == expected
    pictures = [step for step in steps if isinstance(step, ImageStep)]
    assert len(pictures) >= 16
    assert [step.position for step in pictures[:16]] == list(range(1, 17))
    (picture,) = pictures[15].images()
    assert picture.codes.shape == (4, 4)
    assert (picture.settings.prompt, picture.settings.seed) == ("draw a boat", SEED + 1)
    assert picture.settings.guidance == 3.0
    assert steps[-1].finish_reason == "length"
    assert steps[-1].completion_tokens == len(expected)


def test_an_answer_ends_behind_a_picture(liquid):
    ids = liquid.prompts.chat(ASKED)
    free = plain_loop(liquid, ids)
    behind = free.index(liquid.config.special["eoi"]) + 1
    end = next(i for i in range(behind, len(free)) if free[i] not in free[:i])
    liquid.engine.stop = {free[end]}
    steps = list(liquid.stream_chat(ASKED, image_params=IMAGES, seed=SEED, **TEXT))
    assert ids_of(liquid, steps) == free[: end + 1]
    assert (steps[-1].finish_reason, steps[-1].text) == ("stop", "")


def test_chat_returns_the_text_alone(liquid):
    steps = list(liquid.stream_chat(ASKED, seed=SEED, **TEXT))
    text = "".join(step.text for step in steps if isinstance(step, TextStep))
    assert liquid.chat(ASKED, seed=SEED, **TEXT) == text


def test_later_turns_see_the_codes_in_their_place(liquid):
    codes = np.arange(16, dtype=np.int32).reshape(4, 4)
    talk = [
        *ASKED,
        {"role": "assistant", "content": ["here", codes, "it is"]},
        {"role": "user", "content": "why"},
    ]
    ids = liquid.prompts.chat(talk)
    special, text = liquid.config.special, liquid.prompts._text
    answer = [
        special["start_of_turn"],
        *text("model\nhere"),
        liquid.prompts.opened()[0],
        *(codes.reshape(-1) + liquid.config.image_offset).tolist(),
        special["eoi"],
        *text("it is"),
        special["end_of_turn"],
        *text("\n"),
        liquid.config.eos_ids[0],
        special["start_of_turn"],
    ]
    start = ids.index(special["start_of_turn"], len(liquid.prompts.chat(ASKED)) - 12)
    assert any(ids[i : i + len(answer)] == answer for i in range(start + 1))
    fresh = plain_loop(liquid, ids)
    list(liquid.stream_chat(ASKED, seed=SEED, **TEXT))  # the prompt cache holds another answer
    assert ids_of(liquid, liquid.stream_chat(talk, image_params=IMAGES, seed=SEED, **TEXT)) == fresh


def test_an_abandoned_picture_leaves_the_next_answer_alone(liquid):
    expected = ids_of(liquid, liquid.stream_chat(ASKED, seed=SEED, **TEXT))
    stream = liquid.stream_chat(ASKED, seed=SEED, **TEXT)
    for step in stream:
        if isinstance(step, ImageStep) and step.position == 5:
            break
    stream.close()
    assert ids_of(liquid, liquid.stream_chat(ASKED, seed=SEED, **TEXT)) == expected


def test_a_picture_that_the_context_has_no_room_for_ends_the_answer(liquid, monkeypatch):
    ids = liquid.prompts.chat(ASKED)
    backbone = replace(liquid.config.backbone, max_position_embeddings=len(ids) + 4 + 16 + 1)
    monkeypatch.setattr(liquid.engine, "config", replace(liquid.config, backbone=backbone))
    steps = list(liquid.stream_chat(ASKED, seed=SEED, **TEXT))
    assert all(isinstance(step, TextStep) for step in steps)
    assert steps[-1].finish_reason == "length"
    assert len(steps) == 4


def test_models_that_were_not_trained_for_it_do_not_draw(liquid, converted):
    plain = load(converted("gemma_tiny"), dtype="float32")
    assert not plain.config.interleaved
    object.__setattr__(liquid.config, "interleaved", False)
    steps = list(liquid.stream_chat(ASKED, seed=SEED, **TEXT))
    assert all(isinstance(step, TextStep) for step in steps)
    assert liquid.prompts.opened()[0] in [step.token for step in steps]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ([], PromptError),
        ([" "], PromptError),
        ([3], PromptError),
        ([np.zeros((4, 4), np.int32)], PromptError),  # a turn of the user needs words
        ([np.full((4, 4), -1), "what"], ImageError),
        ([np.full((4, 4), 10**6), "what"], ImageError),
        ([np.zeros((4, 4)), "what"], ImageError),
    ],
)
def test_bad_contents_are_refused(liquid, content, error):
    with pytest.raises(error):
        liquid.stream_chat([{"role": "user", "content": content}])
