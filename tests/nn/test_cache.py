"""Slots, positions and masks of rows whose prompts end at different places."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liquid_mlx.config import BackboneConfig
from liquid_mlx.nn import cache as cache_module
from liquid_mlx.nn.cache import KVCache

CONFIG = BackboneConfig("llama", 64, 32, 64, 2, 4, 2, 8)


def filled(length: int, capacity: int, value: float) -> KVCache:
    """A one-row cache whose first ``length`` slots hold ``value``."""
    cache = KVCache.empty(CONFIG, 1, capacity, mx.float32)
    for layer in range(CONFIG.num_hidden_layers):
        new = mx.full((1, CONFIG.num_key_value_heads, length, CONFIG.head_dim), value)
        cache.update(layer, new, -new)
    cache.offset = length
    return cache


def seen(lengths: list[int], written: int, new: int, window: int | None) -> list[list[list[int]]]:
    """Which slots each of ``new`` tokens of each row may see, counted out slot by slot."""
    end = max(lengths)
    rows = []
    for length in lengths:
        places = {slot: slot for slot in range(length)}  # slot -> position
        places |= {end + i: length + i for i in range(written + new)}
        rows.append(
            [
                [
                    slot
                    for slot, place in places.items()
                    if place <= places[query] and (not window or places[query] - place < window)
                ]
                for query in range(end + written, end + written + new)
            ]
        )
    return rows


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    written=st.integers(0, 5),
    new=st.integers(1, 3),
    window=st.none() | st.integers(1, 12),
)
@example(lengths=[1, 2], written=0, new=1, window=2)
@example(lengths=[5, 2], written=3, new=3, window=5)
def test_a_token_sees_its_own_row_as_if_it_had_no_gap(lengths, written, new, window):
    cache = KVCache.empty(CONFIG, len(lengths), max(lengths) + written + new, mx.float32)
    cache.offset = max(lengths)
    cache.pad([max(lengths) - length for length in lengths])
    cache.offset += written
    places = cache.positions()
    got = [places] * len(lengths) if isinstance(places, int) else places.tolist()
    assert got == [length + written for length in lengths]
    mask = cache.visible(new, window)
    stop = cache.offset + new
    if mask is None:
        mask = mx.arange(cache.offset, stop)[:, None] >= mx.arange(stop)
    visible = np.array(mx.broadcast_to(mask, (len(lengths), 1, new, stop)))[:, 0]
    assert [[np.flatnonzero(row).tolist() for row in rows] for rows in visible] == seen(
        lengths, written, new, window
    )


def test_prefixes_are_joined_with_their_gaps_behind_them():
    cache = KVCache.joined([filled(3, 4, 1.0), filled(1, 9, 2.0)], copies=2, capacity=6)
    assert (cache.rows, cache.capacity, cache.offset) == (4, 6, 3)
    for layer in cache.layers:
        keys, values = mx.split(layer, 2)
        assert keys[:, 0, :, 0].tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[2, 0, 0, 0, 0, 0]] * 2
        assert values.tolist() == (-keys).tolist()
    assert cache.positions().tolist() == [3, 3, 1, 1]


def test_rows_of_equal_length_need_no_mask():
    cache = KVCache.joined([filled(3, 3, 1.0), filled(3, 3, 2.0)], copies=1, capacity=5)
    assert cache.positions() == 3
    assert cache.visible(1) is None
    assert cache.visible(2) is None


@pytest.mark.parametrize("capacity", [2, 3, 8])
def test_room_is_made_once_and_what_is_there_stays(capacity):
    cache = filled(3, 3, 1.0)
    cache.reserve(capacity)
    assert cache.capacity == max(3, capacity)
    assert cache.layers[1][0, 0, :3, 0].tolist() == [1, 1, 1]


def entries(length, seed):
    shape = (4, CONFIG.num_key_value_heads, length, CONFIG.head_dim)
    return mx.random.normal(shape, key=mx.random.key(seed))


@pytest.mark.parametrize("lengths", [[1] * 7, [3, 1, 1, 2], [2, 2, 2]])
@pytest.mark.parametrize("back", [0, 1])
def test_copies_that_take_turns_hold_what_one_would(monkeypatch, lengths, back):
    monkeypatch.setattr(cache_module, "on_gpu", lambda: True)
    one, two = (KVCache.empty(CONFIG, 2, 12, mx.float32) for _ in range(2))
    with two.taking_turns():
        for seed, length in enumerate(lengths):
            for layer in range(CONFIG.num_hidden_layers):
                new = entries(length, 9 * seed + layer)
                for got, want in zip(
                    two.update(layer, *mx.split(new, 2)), one.update(layer, new), strict=True
                ):
                    np.testing.assert_array_equal(np.array(got), np.array(want))
            for cache in (one, two):
                cache.offset += max(length - back, 1)  # not all that was tried is kept
                if seed == 2:
                    cache.take([1, 0])
    for mine, other in zip(one.layers, two.layers, strict=True):
        np.testing.assert_array_equal(
            np.array(mine)[:, :, : one.offset], np.array(other)[:, :, : one.offset]
        )


def test_what_a_running_step_reads_is_not_copied(monkeypatch):
    """Who holds the last step's keys stands for a command buffer that is not done."""
    monkeypatch.setattr(cache_module, "on_gpu", lambda: True)

    def growth(cache):
        held = []
        for step in range(6):
            held = [held[-1]] if held else []
            before = mx.get_active_memory()
            mx.reset_peak_memory()
            read = cache.update(0, entries(1, step))
            mx.eval(read)
            held.append(read)
            cache.offset += 1
        return mx.get_peak_memory() - before

    size = (2, 4096, mx.float32)
    plain, turns = KVCache.empty(CONFIG, *size), KVCache.empty(CONFIG, *size)
    mx.eval(plain.layers, turns.layers)
    assert growth(plain) >= plain.layers[0].nbytes
    with turns.taking_turns():
        assert growth(turns) < turns.layers[0].nbytes / 4
