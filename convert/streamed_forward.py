"""Run a backbone whose matrices stay in their files and come by a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from liquid_mlx.config import LiquidConfig
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.cache import KVCache

from .read.blocks import ahead, row_blocks
from .read.quantized import Packed
from .read.tensor import Rows

# From a matrix's name and float32 x [T, columns] to the pieces of x @ matrix.T [T, rows], in order.
Multiply = Callable[[str, mx.array], Iterator[mx.array]]


def streamed_logits(
    config: LiquidConfig, tensors: Mapping[str, Rows], multiply: Multiply
) -> np.ndarray:
    """Logits [T, vocabulary] of the start of any picture, ``<unconditional><boi>``, in float32.

    Every matrix is multiplied once; vectors and the embedding's rows are read from ``tensors``.
    """
    backbone = Backbone(config.backbone)
    for name, tensor in tensors.items():
        *path, owner, leaf = name.split(".")
        parent: Any = backbone
        for step in path:
            parent = parent[int(step)] if step.isdigit() else parent[step]
        if len(tensor.shape) == 2:
            parent[owner] = _Streamed(name, tensor, multiply)
        else:
            parent[owner][leaf] = tensor.rows(0, tensor.shape[0]).astype(mx.float32)
    tokens = [config.special["unconditional"], config.special["boi"]]
    cache = KVCache.empty(config.backbone, 1, len(tokens), mx.float32)
    return np.asarray(backbone.head()(backbone(mx.array([tokens]), cache))[0])


def multiply_stored(tensor: Rows, x: mx.array) -> Iterator[mx.array]:
    """The pieces of ``x @ tensor.T``; a packed matrix is not unpacked, as when the model runs."""

    def blocks() -> Iterator[tuple[None, list[mx.array]]]:
        for start, stop in row_blocks(tensor.shape):
            if isinstance(tensor, Packed):
                yield None, [tensor.products(start, stop, x)]
            else:
                yield None, [x @ tensor.rows(start, stop).astype(mx.float32).T]

    return (product for _, (product,) in ahead(blocks()))


class _Streamed(nn.Module):
    """A linear layer, an embedding or a head whose matrix stays in its file."""

    def __init__(self, name: str, tensor: Rows, multiply: Multiply):
        super().__init__()
        self._name, self._tensor, self._multiply = name, tensor, multiply

    def __call__(self, x: mx.array) -> mx.array:
        flat = x.astype(mx.float32).reshape(-1, x.shape[-1])
        mx.eval(flat)
        y = mx.concatenate(list(self._multiply(self._name, flat)), axis=-1)
        y = y.reshape(*x.shape[:-1], -1)
        return y + self.bias if "bias" in self else y

    def lookup(self, ids: mx.array) -> mx.array:
        rows = [self._tensor.rows(i, i + 1) for i in np.asarray(ids).reshape(-1).tolist()]
        return mx.concatenate(rows).astype(mx.float32).reshape(*ids.shape, -1)

    def rows(self, start: int, stop: int) -> _Streamed:
        """All rows: a head of a part of them is not needed here."""
        assert (start, stop) == (0, self._tensor.shape[0])
        return self
