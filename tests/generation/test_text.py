"""Prompts read together are read as alone, for every family of backbones."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.generation.text import batches, generate_ids
from liquid_mlx.params import TextParams
from tests.conftest import CASES

QUESTIONS = ["What?", "How many blue things are on the left of the picture?", "Which colour?"]
ROOM = 12


@pytest.fixture(scope="module", params=CASES)
def engine(request, converted):
    return load(converted(request.param), dtype="float32").engine


@pytest.fixture
def prompts(engine):
    """A picture, and questions about it of different lengths."""
    codes = np.arange(64, dtype=np.int32).reshape(8, 8) * 7
    pairs = [engine.prompts.question(codes, question) for question in QUESTIONS]
    shared, rests = pairs[0][0], [rest for _, rest in pairs]
    assert len({len(rest) for rest in rests}) == 3
    return shared, rests


def logits(engine, prefix, tokens):
    """Logits behind a prefix and behind each of ``tokens`` [rows, T]: [rows, 1 + T, n]."""
    out = [engine.text_head(prefix.hidden)]
    for column in mx.array(tokens).T:
        hidden = engine.backbone(column[:, None], prefix.cache)
        out.append(engine.text_head(hidden))
    return np.array(mx.concatenate(out, axis=1))


def steps(engine, prefix, *, seeds=(0,), stop=(), **settings):
    params = TextParams(max_new_tokens=ROOM, **settings)
    return generate_ids(
        engine.backbone, engine.text_head, prefix, params=params, stop=stop, seeds=seeds
    )


def alone(engine, shared, rest, **settings):
    """Ids behind one prompt, read without the batch's code."""
    prefix = engine.prompt_cache.read(shared, rest, ROOM)
    return [token for (token,) in steps(engine, prefix, **settings)]


def together(engine, shared, rests, **settings):
    prefix = engine.prompt_cache.read_together(shared, rests, ROOM)
    columns = zip(*steps(engine, prefix, **settings), strict=True)
    return [[token for token in column if token is not None] for column in columns]


@pytest.mark.parametrize("window", [None, 5, 20, 90])
def test_logits_of_rows_are_those_of_prompts_read_alone(engine, prompts, window, monkeypatch):
    shared, rests = prompts
    if window is not None:  # far smaller than any model's, so that it slides here
        layers = [
            window if layer % 2 == 0 else None for layer in range(len(engine.backbone.model.layers))
        ]
        monkeypatch.setitem(engine.backbone, "_windows", layers)
    engine.prompt_cache._kept = None
    tokens = [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    got = logits(engine, engine.prompt_cache.read_together(shared, rests, 4), tokens)
    for row, rest, ids in zip(got, rests, tokens, strict=True):
        prefix = engine.prompt_cache.read(shared, rest, 4)
        (expected,) = logits(engine, prefix, [ids])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(row / scale, expected / scale, atol=1e-4)
    engine.prompt_cache._kept = None


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_ids_of_rows_are_those_of_prompts_answered_alone(engine, prompts, temperature):
    shared, rests = prompts
    settings = {"temperature": temperature, "top_k": 50, "top_p": 0.95}
    free = [
        alone(engine, shared, rest, seeds=[i], stop=(), **settings) for i, rest in enumerate(rests)
    ]
    assert [len(ids) for ids in free] == [ROOM] * 3
    stop = {free[0][2], free[1][7]}
    expected = []
    for ids in free:
        end = next((at + 1 for at, token in enumerate(ids) if token in stop), ROOM)
        expected.append(ids[:end])
    assert len({len(ids) for ids in expected}) > 1
    got = together(engine, shared, rests, seeds=range(3), stop=stop, **settings)
    assert got == expected


def test_a_row_does_not_depend_on_its_neighbours(engine, prompts):
    shared, (one, long, other) = prompts
    settings = {"temperature": 1.0, "stop": ()}
    first = together(engine, shared, [one, long], seeds=[4, 5], **settings)[0]
    assert together(engine, shared, [other, one], seeds=[6, 4], **settings)[1] == first
    assert together(engine, shared, [one, one], seeds=[4, 4], **settings) == [first] * 2


def test_the_picture_stays_known_to_later_questions(engine, prompts):
    shared, rests = prompts
    engine.prompt_cache._kept = None
    before = alone(engine, shared, rests[1], stop=())
    together(engine, shared, rests, seeds=range(3), stop=())
    ids, cache = engine.prompt_cache._kept
    assert ids == shared
    assert cache.rows == 1
    assert alone(engine, shared, rests[1], stop=()) == before


def test_a_long_prompt_is_read_in_parts(engine, prompts, monkeypatch):
    shared, rests = prompts
    whole = np.array(engine.prompt_cache.read_together(shared, rests, 1).hidden)
    monkeypatch.setattr(
        "liquid_mlx.generation.prompt_cache.PREFILL", 12
    )  # 4 tokens of each of 3 rows
    parts = np.array(engine.prompt_cache.read_together(shared, rests, 1).hidden)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_prompts_of_like_length_and_equal_room_are_read_together():
    rests = [[0] * length for length in (5, 1, 9, 3, 2)]
    assert list(batches(rests, [7] * 5, 2)) == [[1, 4], [3, 0], [2]]
    assert list(batches(rests, [7] * 5, 16)) == [[1, 4, 3, 0, 2]]
    # near the end of the context the longest prompts have less room for an answer
    assert list(batches(rests, [7, 7, 4, 7, 7], 16)) == [[1, 4, 3, 0], [2]]
