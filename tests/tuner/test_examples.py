"""The reference's recipe in tokens, what counts as a target, and the order of examples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from liquid_mlx import PromptError
from liquid_mlx.config import LiquidConfig
from liquid_mlx.prompts import INSTRUCTIONS, Prompts
from liquid_mlx.tuner.examples import (
    CAPTION,
    UNCONDITIONAL,
    Examples,
    Order,
    Recipe,
    hold_out,
)
from liquid_mlx.tuner.records import Picture, Record, Source
from tests.tuner.conftest import records


@pytest.fixture(params=["gemma_tiny", "qwen2_tiny"])
def model(request, converted):
    folder = converted(request.param)
    config = LiquidConfig.read(folder)
    return config, Prompts.read(folder, config)


def make(model, recipe=None, longest=4096):
    config, prompts = model
    return Examples(prompts, config, recipe or Recipe(), longest)


def learned(example):
    return example.ids[example.target].tolist()


def codes_of(config):
    rows, columns = config.grid(config.sizes[0])
    return np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)


def test_a_drawing_follows_its_caption_and_an_instruction(model):
    config, prompts = model
    codes = codes_of(config)
    record = Record("here", "a red disc", Picture(codes=codes))
    said = [*(codes.reshape(-1) + config.image_offset), config.special["eoi"], config.eos_ids[0]]
    for i in range(len(INSTRUCTIONS)):
        example = make(model)._make(record, i)
        given = prompts.draw("a red disc", config.sizes[0], i + 1)
        assert example.ids.tolist() == [*given, *said]
        assert learned(example) == said
    assert len(set(INSTRUCTIONS)) == 10


def test_without_its_caption_a_drawing_follows_the_unconditional_token(model):
    config, prompts = model
    record = Record("here", "a red disc", Picture(codes=codes_of(config)))
    example = make(model)._make(record, UNCONDITIONAL)
    given = prompts.unconditional(config.sizes[0])
    assert example.ids[: len(given)].tolist() == given
    assert not example.target[: len(given)].any()
    assert example.target[len(given) :].all()


def test_a_caption_follows_its_picture_as_generation_asks_for_it(model):
    config, prompts = model
    record = Record("here", "a red disc", Picture(codes=codes_of(config)))
    example = make(model)._make(record, CAPTION)
    seen, asked = prompts.caption(codes_of(config))
    said = [*prompts.reply("a red disc"), config.eos_ids[0]]
    assert example.ids.tolist() == [*seen, *asked, *said]
    assert learned(example) == said


def test_a_question_is_asked_as_at_generation_and_its_answer_is_learned_with_its_end(model):
    config, prompts = model
    codes = codes_of(config)
    talk = [{"role": "user", "content": "what is it?"}, {"role": "assistant", "content": "a disc"}]
    record = Record("here", messages=talk, shown={0: Picture(codes=codes)})
    example = make(model).make(record, np.random.default_rng(0))
    shared, rest = prompts.question(codes, "what is it?")
    asked = [*shared, *rest]
    assert example.ids[: len(asked)].tolist() == asked
    assert not example.target[: len(asked)].any()
    assert example.target[len(asked) :].all()
    answer = prompts.reply("a disc")
    assert learned(example)[: len(answer)] == answer
    assert learned(example)[-1] == config.eos_ids[0]


def test_every_answer_of_a_conversation_is_learned_and_no_question(model):
    _, prompts = model
    talk = [
        {"role": role, "content": f"{role} {i}"} for i in range(3) for role in ("user", "assistant")
    ]
    example = make(model).make(Record("here", messages=talk), np.random.default_rng(0))
    text = prompts.decode(learned(example))
    assert all(f"assistant {i}" in text for i in range(3))
    assert "user" not in text
    first = prompts.chat(talk[:1])
    assert example.ids[: len(first)].tolist() == first


def test_all_of_a_text_is_learned_but_its_start(model):
    _, prompts = model
    example = make(model).make(Record("here", "some words"), np.random.default_rng(0))
    assert example.ids.tolist() == prompts.text("some words")
    assert example.target.tolist() == [i > 0 for i in range(len(example))]


def test_uses_of_a_picture_come_as_often_as_the_recipe_says(model):
    config, _ = model
    examples = make(model, Recipe(t2i_ratio=0.7, unconditional=0.2))
    record = Record("here", "a disc", Picture(codes=codes_of(config)))
    found = Counter()
    for seed in range(400):
        ids = examples.make(record, np.random.default_rng(seed)).ids.tolist()
        drawn = ids[-1] == config.eos_ids[0] and ids[-2] == config.special["eoi"]
        without = config.special["unconditional"] in ids
        found["unconditional" if without else "drawn" if drawn else "described"] += 1
    assert found["described"] == pytest.approx(120, abs=30)
    assert found["unconditional"] == pytest.approx(56, abs=25)
    one = make(model, Recipe(t2i_ratio=1, unconditional=0, instructions=1))
    same = {tuple(one.make(record, np.random.default_rng(seed)).ids) for seed in range(20)}
    assert len(same) == 1


def test_what_is_too_long_is_told_with_numbers(model):
    config, _ = model
    record = Record("here", "long " * 200, Picture(codes=codes_of(config)))
    with pytest.raises(PromptError, match=r"\d+ tokens, and 64 are the most"):
        make(model, longest=64).longest_of(record)


def order(model, sources, batch_size=4, seed=0):
    return Order(make(model), sources, batch_size, seed)


def test_an_epoch_has_every_record_once(model):
    config, _ = model
    source = Source("a", 1.0, records(config, 7))
    one = order(model, [source], batch_size=3)
    assert one.epoch_length == 21
    indices = [one._indices(epoch) for epoch in range(2)]
    assert all(sorted(found.tolist()) == list(range(21)) for found in indices)
    assert indices[0].tolist() != indices[1].tolist()


def test_shares_say_how_much_of_a_source_an_epoch_has(model):
    config, _ = model
    few = Source("few", 2.0, records(config, 2))
    part = Source("part", 0.25, records(config, 8))
    one = order(model, [few, part], batch_size=3)
    found = Counter(one._indices(0).tolist())
    assert one.epoch_length == 12 + 6
    assert all(found[i] == 2 for i in range(6))
    assert sum(found[i] for i in range(6, 30)) == 6
    seen = {i for epoch in range(20) for i in one._indices(epoch).tolist()}
    assert seen == set(range(30))  # drawn anew in every epoch


@pytest.mark.parametrize("step", [0, 1, 5, 16, 17, 23, 40])
def test_batches_from_any_step_are_those_of_the_whole_run(model, step):
    config, _ = model
    one = order(model, [Source("a", 1.0, records(config, 23))], batch_size=3)
    whole, later = one.batches(), one.batches(step)
    for _ in range(step):
        next(whole)
    for _ in range(3):
        for ours, theirs in zip(next(whole), next(later), strict=True):
            np.testing.assert_array_equal(ours.ids, theirs.ids)


def test_validation_records_are_taken_out_by_the_seed(model):
    config, _ = model
    source, again, other = (Source("a", 1.0, records(config, 10)) for _ in range(3))
    hold_out(source, 0.2, 0)
    hold_out(again, 0.2, 0)
    hold_out(other, 0.2, 1)
    kept = [[record.where for record in one.held_out] for one in (source, again, other)]
    assert len(kept[0]) == 6
    assert kept[0] == kept[1] != kept[2]
    assert len(source.records) == 24
    assert not set(kept[0]) & {record.where for record in source.records}
    tiny = Source("a", 1.0, records(config, 1)[:1])
    hold_out(tiny, 0.5, 0)
    assert tiny.records
    assert not tiny.held_out
