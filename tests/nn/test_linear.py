"""Packed matrices: the products that training makes on a CPU are those of the packed kernel."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from liquid_mlx.nn.linear import MANY, Linear, Quantization

PACKINGS = {
    "4 bits": Quantization(4, 32),
    "8 bits": Quantization(8, 64),
    "mxfp4": Quantization(4, 32, "mxfp4"),
}


def packed(quantization: Quantization, bias: bool = False) -> Linear:
    layer = Linear(128, 96, bias)
    weight = 0.1 * mx.random.normal((96, 128), key=mx.random.key(0))
    layer.quantize(quantization)
    q = quantization
    parts = mx.quantize(weight, group_size=q.group_size, bits=q.bits, mode=q.mode)
    layer.update(dict(zip(("weight", "scales", "biases"), parts, strict=False)))
    if bias:
        layer.bias = mx.arange(96) / 10
    return layer


def product_and_gradient(layer: Linear, x: mx.array) -> tuple[np.ndarray, np.ndarray]:
    wanted = mx.random.normal((len(x), layer.shape[0]), key=mx.random.key(2))
    gradient = mx.grad(lambda x: (layer(x) * wanted).sum())(x)
    return np.array(layer(x)), np.array(gradient)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("packing", PACKINGS)
def test_unpacking_for_many_rows_changes_neither_products_nor_gradients(
    packing: str, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = packed(PACKINGS[packing], bias)
    x = mx.random.normal((MANY, 128), key=mx.random.key(1))
    expected, few = product_and_gradient(layer, x), np.array(layer(x[:-1]))
    layer.unpacks = True
    np.testing.assert_array_equal(layer(x[:-1]), few)
    monkeypatch.delattr(mx, "quantized_matmul")  # from here on it would be an error
    for found, value in zip(product_and_gradient(layer, x), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)
    part = product_and_gradient(layer.rows(10, 50), x)[0]
    np.testing.assert_allclose(part, expected[0][:, 10:50], rtol=1e-4, atol=1e-5)
