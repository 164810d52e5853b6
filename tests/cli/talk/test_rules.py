"""When a conversation makes room, stops, or hints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liquid_mlx import Liquid, load
from liquid_mlx.cli.talk.rules import LEAST, LONGEST_RUN, repeated, to_draw, turns_to_drop
from tests.cli.conftest import with_context


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("draw a red circle", "a red circle"),
        ("Draw me two boats.", "two boats"),
        ("please paint a house!", "a house"),
        ("can you draw a cat?", "a cat"),
        ("make a picture of the sea", "the sea"),
        ("generate an image of a star", "a star"),
        ("what did you draw", ""),
        ("draw", ""),
        ("drawing is fun", ""),
        ("make it larger", ""),
        ("how do I draw a cat?", ""),
    ],
)
def test_a_wish_for_a_picture_is_recognized(line: str, what: str) -> None:
    assert to_draw(line) == what


@pytest.mark.parametrize("run", [1, 2, 5, LONGEST_RUN])
def test_an_endless_loop_is_found_as_soon_as_it_is_one(run: int) -> None:
    start, loop = [900, 901, 902], list(range(100, 100 + run))
    tokens = start + loop * (LEAST + 4)
    found = next(n for n in range(len(tokens)) if repeated(tokens[:n]))
    times = max(4, -(-LEAST // run))
    assert found == len(start) + times * run
    kept = tokens[: found - repeated(tokens[:found])]
    assert kept == start + loop


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [1] * (LEAST - 1),
        [1, 2, 3] * 3,
        list(range(200)),
        [token for i in range(50) for token in (i, 7)],  # a list with the same comma
        list(range(LONGEST_RUN + 1)) * 5,
    ],
)
def test_what_only_looks_alike_goes_on(tokens: list[int]) -> None:
    assert repeated(tokens) == 0


@pytest.fixture
def liquid(converted: Callable[..., Path], copy_of: Callable[[Path], Path]) -> Liquid:
    return load(with_context(copy_of(converted("gemma_tiny")), 512))


def talk(turns: int, words: int = 20) -> list[dict[str, Any]]:
    said = [{"role": "user", "content": "word " * words}, {"role": "assistant", "content": "yes"}]
    return [*said * turns, {"role": "user", "content": "and now?"}]


def test_nothing_is_dropped_while_there_is_room(liquid: Liquid) -> None:
    assert turns_to_drop(liquid, talk(0), 8) == 0
    assert turns_to_drop(liquid, talk(2), 8) == 0


def test_the_oldest_turns_go_until_half_is_free(liquid: Liquid) -> None:
    context = liquid.config.backbone.max_position_embeddings
    one = len(liquid.prompts.chat(talk(1))) - len(liquid.prompts.chat(talk(0)))
    messages = talk(context // one + 2)
    for max_tokens in (8, 10_000):
        turns = turns_to_drop(liquid, messages, max_tokens)
        free = context - min(max_tokens, context // 4)
        rest = len(liquid.prompts.chat(messages[2 * turns :]))
        assert free // 2 - one < rest <= free // 2


def test_pictures_count_by_their_codes(liquid: Liquid) -> None:
    shape = liquid.config.grid(liquid.config.sizes[0])
    codes = np.zeros(shape, np.int32)
    context = liquid.config.backbone.max_position_embeddings
    many = context // codes.size + 1
    said = [{"role": "user", "content": [codes, "what?"]}, {"role": "assistant", "content": "x"}]
    messages = [*said * many, {"role": "user", "content": "and now?"}]
    turns = turns_to_drop(liquid, messages, 8)
    assert 0 < turns <= many
    assert len(liquid.prompts.chat(messages[2 * turns :])) <= context - 8


def test_a_message_that_fits_nowhere_drops_nothing(liquid: Liquid) -> None:
    messages = talk(3)
    messages[-1] = {"role": "user", "content": "word " * 9000}
    assert turns_to_drop(liquid, messages, 8) == 0
