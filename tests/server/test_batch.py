"""Whoever joins and leaves a running batch, every picture and answer is what it is alone."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx import load
from liquid_mlx.errors import LowMemoryError, PromptError
from liquid_mlx.generation.answer import stream_text
from liquid_mlx.generation.drawing.drawing import pictures_of
from liquid_mlx.params import ImageParams, TextParams
from liquid_mlx.server.batch import Batch
from liquid_mlx.server.sequences import ImageSequence, TextSequence
from tests.conftest import CASES

PROMPTS = ["a boat", "a much longer prompt about two boats on a lake", "a tree"]


@pytest.fixture(scope="module", params=CASES)
def any_liquid(request, converted):
    return load(converted(request.param), dtype="float32")


@pytest.fixture(scope="module")
def liquid(converted):
    return load(converted("gemma_tiny"), dtype="float32")


def picture(liquid, prompt, seed, guidance=4.0, temperature=0.9):
    size = liquid.config.sizes[0]
    rows, columns = liquid.config.grid(size)
    params = ImageParams(guidance=guidance, temperature=temperature, top_k=50, top_p=0.95)
    ids = liquid.prompts.draw(prompt, size)
    return ImageSequence(ids, params, seed, size, rows * columns)


def answer(liquid, question, seed=0, temperature=0.0, most=12, top=None):
    ids = liquid.prompts.chat([{"role": "user", "content": question}])
    params = TextParams(max_new_tokens=most, temperature=temperature)
    return TextSequence(ids, params, seed, liquid.engine.stop, top)


def batch_of(liquid):
    return Batch(liquid.engine, liquid.config, 0)


def alone(liquid, sequence):
    """The tokens of a sequence as the library's own loops draw them."""
    if isinstance(sequence, TextSequence):
        steps = stream_text(liquid.engine, [], sequence.ids, sequence.params, sequence.seed)
        return [step.token for step in steps]
    prompt = next(p for p in PROMPTS if liquid.prompts.draw(p, sequence.size) == sequence.ids)
    p = sequence.params
    (image,) = liquid.generate_image(
        prompt,
        seed=sequence.seed,
        guidance=p.guidance,
        temperature=p.temperature,
        top_k=p.top_k,
        top_p=p.top_p,
    )
    return image.codes.reshape(-1).tolist()


def test_all_come_out_as_alone_whenever_they_join(any_liquid):
    sequences = [
        picture(any_liquid, PROMPTS[0], 1),
        answer(any_liquid, "hello"),
        picture(any_liquid, PROMPTS[1], 2, guidance=1.0),
        answer(any_liquid, "what do you know about it, and why?", 3, temperature=1.0),
        picture(any_liquid, PROMPTS[2], 4, temperature=0.0),
        picture(any_liquid, PROMPTS[0], 5),
        answer(any_liquid, "hello", 6, temperature=1.0),
        answer(any_liquid, "hello you"),
    ]
    expected = [alone(any_liquid, sequence) for sequence in sequences]
    batch = batch_of(any_liquid)
    for wait, sequence in zip((0, 1, 3, 7, 0, 9, 0, 0), sequences, strict=True):
        for _ in range(wait):
            batch.step()
        batch.add(sequence)
    while batch.step():
        pass
    assert all(sequence.done for sequence in sequences)
    assert [sequence.tokens for sequence in sequences] == expected
    assert batch.sequences == []


def test_those_that_leave_at_any_step_change_nothing(liquid):
    staying = [picture(liquid, PROMPTS[1], 7), answer(liquid, "hello", 1, temperature=1.0)]
    expected = [alone(liquid, sequence) for sequence in staying]
    batch, steps = batch_of(liquid), np.random.default_rng(0)
    for sequence in staying:
        batch.add(sequence)
    for seed in range(8):
        passing = picture(liquid, PROMPTS[seed % 3], seed)
        batch.add(passing)
        for _ in range(int(steps.integers(0, 4))):
            batch.step()
        batch.remove(passing)
        assert passing not in batch.sequences
    while batch.step():
        pass
    assert [sequence.tokens for sequence in staying] == expected


def test_edits_variations_and_candidates_are_drawn_among_others_as_alone(liquid, converted):
    shared = load(converted("gemma_tiny"), dtype="float32")
    batch = batch_of(shared)
    shared.drawn_by = batch.draw
    (start,) = liquid.generate_image(PROMPTS[0], seed=1)
    hole = np.zeros(start.codes.shape, bool)
    hole[0, 1], hole[1, 0], hole[-2, -1] = True, True, True
    ways = [
        lambda model: model.stream_edit(start, PROMPTS[1], rows=1, count=2, seed=3),
        lambda model: model.stream_edit(start, PROMPTS[2], mask=hole, candidates=2, seed=4),
        lambda model: model.stream_vary(start, strength=0.5, count=2, seed=5),
        lambda model: model.stream_vary(start.image, strength=0.4, prompt=PROMPTS[1], seed=6),
        lambda model: model.stream_image(PROMPTS[2], best_of=3, seed=7, guidance=1),
    ]
    expected = [pictures_of(way(liquid)) for way in ways]
    beside = picture(shared, PROMPTS[2], 8)
    batch.add(beside)
    found, most = {}, 0
    under_way = {number: way(shared) for number, way in enumerate(ways)}
    while under_way:
        for number, steps in list(under_way.items()):
            step = next(steps)
            if step.position == step.total:
                found[number] = step.images()
                del under_way[number]
        most = max(most, len(batch.sequences))
        batch.step()
    assert most > len(ways)  # all at once
    assert beside.tokens == alone(liquid, beside)
    for number, pictures in enumerate(expected):
        assert [one.codes.tolist() for one in found[number]] == [
            one.codes.tolist() for one in pictures
        ]
        assert [one.settings.steered.keys() for one in found[number]] == [
            one.settings.steered.keys() for one in pictures
        ]
    assert batch.sequences == []


def test_who_asks_seldom_for_steps_misses_no_end_of_a_row(liquid, converted):
    shared = load(converted("gemma_tiny"), dtype="float32")
    batch = batch_of(shared)
    shared.drawn_by = batch.draw
    steps = shared.stream_image(PROMPTS[0], count=2, seed=3)
    assert next(steps).position == 0
    while batch.step():
        pass
    rest = list(steps)
    columns, total = rest[-1].columns, rest[-1].total
    assert [step.position for step in rest] == list(range(columns, total + 1, columns))
    expected = liquid.generate_image(PROMPTS[0], count=2, seed=3)
    assert [one.codes.tolist() for one in rest[-1].images()] == [
        one.codes.tolist() for one in expected
    ]


def test_log_probabilities_are_those_of_the_whole_vocabulary(liquid):
    sequence = answer(liquid, "hello", seed=3, temperature=1.0, most=4, top=3)
    batch = batch_of(liquid)
    batch.add(sequence)
    batch.add(picture(liquid, PROMPTS[0], 1))
    while not sequence.done:
        batch.step()
    logits = liquid.logits([*sequence.ids, *sequence.tokens])[len(sequence.ids) - 1 : -1]
    logs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    for row, token, found in zip(logs, sequence.tokens, sequence.logs, strict=True):
        assert found.drawn == pytest.approx(row[token], abs=1e-4)
        assert [value for _, value in found.top] == pytest.approx(np.sort(row)[:-4:-1], abs=1e-4)


def test_entropies_are_those_of_the_distribution_that_is_drawn_from(liquid):
    calm, wild = picture(liquid, PROMPTS[0], 1, temperature=0.0), picture(liquid, PROMPTS[0], 1)
    batch = batch_of(liquid)
    for sequence in (calm, wild):
        sequence.wants_entropy = True
        batch.add(sequence)
    while batch.step():
        pass
    assert calm.entropies == [0.0] * calm.total
    assert len(wild.entropies) == wild.total
    assert 0 < max(wild.entropies) <= np.log(50) + 1e-4  # top-k is 50


def test_memory_of_the_cache_is_given_back_as_rows_leave(liquid):
    batch = batch_of(liquid)
    for _ in range(3):
        batch.add(picture(liquid, PROMPTS[0], 1))
        batch.add(answer(liquid, "hello", most=2))
        while batch.step():
            pass
    assert batch._cache is None
    assert batch._hidden is None


def test_what_cannot_be_read_is_refused(liquid, monkeypatch):
    batch = batch_of(liquid)
    with pytest.raises(PromptError, match="too long"):
        batch.add(answer(liquid, "a " * 9000))
    monkeypatch.setattr("liquid_mlx.memory.available", lambda: 1000)
    with pytest.raises(LowMemoryError):
        batch.add(answer(liquid, "hello"))
    small = batch_of(liquid)
    assert small.fits(answer(liquid, "hello"))  # alone it may try
