"""What decoding holds at once on Metal, counted without Metal.

The decoder's own code runs with arrays that have a shape and no values. They are counted as MLX's
Metal backend (0.32) holds memory: what a command buffer reads and writes stays until it is done
(metal/eval.cpp), and `conv3x3` waits for it; a 3x3 convolution of 4096 pixels and 256 channels and
more is Winograd's, with scratch in tiles of 8x8 for 6x6 pixels (metal/conv.cpp).
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from weakref import WeakSet

import pytest

from liquid_mlx import memory
from liquid_mlx.config import VQGANConfig
from liquid_mlx.nn import vqgan
from tests.recipe import recipe

FLOAT = 4


class Shape:
    """An array without values; ``inputs`` live as long as it is lazy."""

    def __init__(self, ledger, shape, *inputs, view=False):
        self.ledger, self.shape, self.inputs = ledger, tuple(shape), inputs
        self.view_of = (inputs[0].view_of or inputs[0]) if view else None
        self.nbytes = math.prod(shape) * FLOAT
        if not view:
            ledger.written(self)

    @property
    def ndim(self):
        return len(self.shape)

    def __add__(self, other):
        return Shape(self.ledger, self.shape, self, other)

    def reshape(self, *shape):
        sides = shape[0] if isinstance(shape[0], tuple) else shape
        if -1 in sides:
            rest = math.prod(self.shape) // -math.prod(sides)
            sides = tuple(rest if side == -1 else side for side in sides)
        if self.view_of and math.prod(self.shape) != math.prod(self.view_of.shape):  # a broadcast
            return Shape(self.ledger, sides, self)  # a copy
        return Shape(self.ledger, sides, self, view=True)

    def __getitem__(self, places):
        sides = iter(self.shape)
        shape = [1 if place is None else next(sides) for place in places]
        return Shape(self.ledger, [*shape, *sides], self, view=True)


class Ledger:
    """Bytes held: arrays that somebody can still reach, and all of a command buffer that runs."""

    def __init__(self):
        self.alive, self.running, self.peak = WeakSet(), [], 0

    def written(self, array):
        self.alive.add(array)
        self.running.append(array)

    def done(self, *results):
        """A command buffer is waited for; ``results`` need their inputs no more."""
        held = {id(a): a.nbytes for a in [*self.alive, *self.running]}
        self.peak = max(self.peak, sum(held.values()))
        for array in [*self.running, *results]:
            array.inputs = ()
        self.running.clear()


@pytest.fixture
def ledger(monkeypatch):
    ledger = Ledger()

    def conv3x3(x, weight, bias):
        batch, height, width, channels = x.shape
        outputs = weight.shape[0]
        if height * width >= 4096 and channels + outputs >= 256 and outputs % 32 == 0:
            rows, columns = -(-height // 6), -(-width // 6)
            Shape(ledger, (6 * rows + 2, 6 * columns + 2, channels))  # the padded input
            Shape(ledger, (64, rows * columns, channels))  # its tiles, transformed
            Shape(ledger, (64, rows * columns, outputs))  # the products
            Shape(ledger, (64, channels, outputs))  # the filter
        y = Shape(ledger, (batch, height, width, outputs), x)  # the bias is added in place
        ledger.done(y)
        return y

    def conv1x1(x, weight, bias):
        return Shape(ledger, (*x.shape[:-1], weight.shape[0]), x)

    def norm(x, *_, **__):
        return Shape(ledger, x.shape, x)

    monkeypatch.setattr(vqgan, "conv3x3", conv3x3)
    monkeypatch.setattr(vqgan, "conv1x1", conv1x1)
    monkeypatch.setattr(vqgan, "group_norm_silu", norm)
    monkeypatch.setattr(vqgan.ResBlock, "silent", False)  # as those of the released model are
    return ledger


def decode(ledger, monkeypatch, config, side):
    decoder = vqgan.Decoder(config)
    monkeypatch.setattr(
        vqgan,
        "mx",
        SimpleNamespace(
            broadcast_to=lambda x, shape: Shape(ledger, shape, x, view=True),
            fast=SimpleNamespace(
                scaled_dot_product_attention=lambda q, k, v, scale: Shape(ledger, q.shape, q, k, v)
            ),
        ),
    )
    grid = side // config.factor
    pixels = decoder(Shape(ledger, (1, grid, grid, config.z_channels)))
    assert pixels.shape == (1, side, side, 3)
    channels = config.ch * max(config.ch_mult[:2])
    return ledger.peak / (side * side * channels * FLOAT)


@pytest.mark.parametrize("mult", [(1, 1, 2, 2, 4), (1, 2, 2, 4), (2, 2)])
def test_what_metal_holds_is_within_the_prediction(ledger, monkeypatch, mult):
    official = VQGANConfig.from_params(recipe()["vq_params"])
    held = decode(ledger, monkeypatch, replace(official, ch_mult=mult), 512)
    assert held <= memory.GPU_ACTIVATIONS
    if mult == official.ch_mult:
        assert held > memory.GPU_ACTIVATIONS - 1  # no more than it takes
