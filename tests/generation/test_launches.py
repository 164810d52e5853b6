"""How many kernels Metal would launch for a step: the number may fall, not grow."""

from __future__ import annotations

import mlx.core as mx
import pytest

from benchmarks.launches import Launches, dense, is_dense, our_step, per_layer, reshaped


@pytest.mark.skipif(mx.metal.is_available(), reason="counts what a GPU would be given")
def test_a_layer_launches_ten_kernels_and_copies_nothing():
    layer, rest = per_layer(our_step)
    assert layer.total() <= 10, layer
    assert rest.total() <= 11, rest
    assert not [name for name in layer + rest if name.startswith("copy")]


@pytest.mark.parametrize(
    ("shape", "strides", "to", "expected"),
    [
        ((2, 3, 4), (12, 4, 1), (6, 4), (4, 1)),
        ((2, 4, 3), (12, 1, 4), (2, 12), None),  # transposed
        ((2, 4, 3), (12, 1, 4), (2, 2, 2, 3), (12, 2, 1, 4)),
        ((2, 6), (24, 1), (2, 2, 3), (24, 3, 1)),  # a slice
        ((2, 6), (24, 1), (12,), None),
    ],
)
def test_a_reshape_copies_only_what_no_strides_describe(shape, strides, to, expected):
    assert reshaped(shape, strides, to) == expected


def test_a_size_of_one_may_have_any_stride():
    assert is_dense((2, 1, 3), (3, 99, 1))
    assert dense((2, 1, 3)) == (3, 3, 1)


def test_attention_copies_what_its_kernel_cannot_read():
    def launches(keys: mx.array, mask: mx.array | None = None) -> int:
        counter = Launches()
        queries = {"name": "CustomKernel", "type": "primitive", "inputs": [], "outputs": []}
        counter.add({**queries, "arguments": ["custom_kernel_x_"]})
        assert counter.counts.total() == 1
        inputs = [("q", (2, 4, 1, 8), mx.bfloat16), ("k", (2, 4, 9, 8), mx.bfloat16)]
        counter._strides = {"k": keys}
        event = {**queries, "inputs": inputs, "arguments": ["custom_kernel_mlx_attention__y"]}
        counter.add(event)
        return counter.counts.total() - 1

    assert launches((4 * 9 * 8, 9 * 8, 8, 1)) == 1
    assert launches((8 * 9 * 8, 9 * 8, 8, 1)) == 2  # keys and values side by side along the heads
