"""The parts of a converted model, each with the way from its source to its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import mlx.core as mx
import numpy as np

from liquid_mlx.nn.linear import Quantization

from ..read.blocks import row_blocks
from ..read.layout import to_mlx_layout
from ..read.tensor import MLX, Rows, itemsize

# The bytes read for some rows of a part, and the arrays made of them.
Block = tuple[int, list[mx.array]]


@dataclass(frozen=True)
class Part:
    """One tensor of the language model: where it comes from and what becomes of it."""

    name: str
    source: Rows
    dtype: str
    quantization: Quantization | None = None

    @property
    def path(self) -> str:
        """The module that the tensor belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def parameters(self) -> int:
        return prod(self.source.shape)

    @property
    def specs(self) -> list[Spec]:
        """The tensors that are written for it."""
        how = self.quantization
        if how is None:
            return [Spec(self.name, self.dtype, self.source.shape)]
        *lead, width = self.source.shape
        groups = (*lead, width // how.group_size)
        packed = Spec(self.name, "uint32", (*lead, width * how.bits // 32))
        if how.mode != "affine":
            return [packed, Spec(f"{self.path}.scales", "uint8", groups)]
        return [
            packed,
            Spec(f"{self.path}.scales", self.dtype, groups),
            Spec(f"{self.path}.biases", self.dtype, groups),
        ]

    @property
    def nbytes(self) -> int:
        return sum(spec.nbytes for spec in self.specs)

    def blocks(self, x: mx.array | None = None) -> Iterator[Block]:
        """The next rows of each of ``specs``, not evaluated.

        With float32 x [T, columns] comes one array more: x times the source's rows, [T, rows].
        """
        self.source.check()
        for start, stop in row_blocks(self.source.shape):
            rows = self.source.rows(start, stop)
            arrays = self.pack(rows.astype(MLX[self.dtype]))
            if x is not None:
                arrays.append(x @ rows.astype(mx.float32).T)
            yield self.source.nbytes * (stop - start) // self.source.shape[0], arrays

    def whole(self) -> mx.array:
        """All of a small source, in the layout that is written."""
        return self.source.rows(0, self.source.shape[0])

    def pack(self, rows: mx.array) -> list[mx.array]:
        """Rows as they are written: as they are, or packed with scales (and biases)."""
        how = self.quantization
        if how is None:
            return [rows]
        return list(mx.quantize(rows, group_size=how.group_size, bits=how.bits, mode=how.mode))


class ConvPart(Part):
    """A tensor of ``vqgan.ckpt``: written in MLX's layout. All are small enough for one block."""

    @property
    def specs(self) -> list[Spec]:
        shape = self.source.shape
        if len(shape) == 4:
            shape = shape[0], shape[2], shape[3], shape[1]
        return [Spec(self.name, self.dtype, shape)]

    def whole(self) -> mx.array:
        rows = super().whole().astype(mx.float32)
        return mx.array(to_mlx_layout(self.name, np.array(rows)))

    def blocks(self, x: mx.array | None = None) -> Iterator[Block]:
        self.source.check()
        yield self.source.nbytes, [self.whole().astype(MLX[self.dtype])]


KINDS = {
    "embed_tokens": "embedding",
    "lm_head": "head",
    "self_attn": "attention",
    "mlp": "MLP",
}


def kind_of(part: Part) -> str:
    """The group that a part of the language model is shown in."""
    return next((kind for key, kind in KINDS.items() if f"{key}." in part.name), "norms")


@dataclass(frozen=True)
class Spec:
    """A tensor to be written: its name, dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * itemsize(self.dtype)
