"""Dense or quantized matrices: the linear layers, the embedding, and heads cut from either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from liquid_mlx.device import on_gpu

MANY = 16  # rows of a product from which unpacking a matrix first pays off on the CPU


@dataclass(frozen=True)
class Quantization:
    """How a matrix is packed: ``mode`` affine, mxfp4, mxfp8 or nvfp4, as ``mx.quantize`` has it."""

    bits: int
    group_size: int
    mode: str = "affine"


@dataclass(frozen=True)
class Delta:
    """What adapters make of a product y of x: ``gain * y + shift + x @ a @ b``.

    ``a`` is [inputs, R] and ``b`` [R, outputs]; ``gain`` and ``shift`` are [outputs], or None for
    1 and 0. Nothing of the matrix itself is touched, so that adapters come and go.
    """

    a: mx.array
    b: mx.array
    gain: mx.array | None = None
    shift: mx.array | None = None

    def __call__(self, x: mx.array, y: mx.array) -> mx.array:
        if self.gain is not None and self.shift is not None:
            y = y * self.gain + self.shift
        return y + (x @ self.a) @ self.b

    def rows(self, start: int, stop: int) -> Delta:
        """The same for outputs ``start`` to ``stop``."""
        cut = [None if each is None else each[start:stop] for each in (self.gain, self.shift)]
        return Delta(self.a, self.b[:, start:stop], *cut)

    def astype(self, dtype: mx.Dtype) -> Delta:
        """The same in another dtype, evaluated."""
        found = (self.a, self.b, self.gain, self.shift)
        cast = [None if each is None else each.astype(dtype) for each in found]
        mx.eval([each for each in cast if each is not None])
        return Delta(*cast)  # type: ignore[arg-type]


class Linear(nn.Module):
    """``x @ weight.T + bias`` with ``weight`` [outputs, inputs], packed if quantized.

    Unlike ``mlx.nn.Linear`` it makes no random numbers, and one class is both dense and quantized.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False):
        super().__init__()
        self.weight = mx.zeros((outputs, inputs))
        if bias:
            self.bias = mx.zeros((outputs,))
        self.quantization: Quantization | None = None
        self.group: mx.distributed.Group | None = None  # each rank of it has some of the inputs
        self._transposed: mx.array | None = None
        self.unpacks = False  # for products of many rows: set where it is trained on the CPU
        self.delta: Delta | None = None
        self.parts: tuple[int, ...] = (outputs,)  # of each matrix that was joined

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        outputs, packed = self.weight.shape
        q = self.quantization
        return outputs, packed if q is None else packed * 32 // q.bits

    def quantize(self, quantization: Quantization) -> None:
        """Take the packed parameters' names and shapes; weights are loaded afterwards."""
        outputs, inputs = self.weight.shape
        self.quantization = quantization
        self.weight = mx.zeros((outputs, inputs * quantization.bits // 32), mx.uint32)
        affine = quantization.mode == "affine"
        groups = (outputs, inputs // quantization.group_size)
        self.scales = mx.zeros(groups, mx.float32 if affine else mx.uint8)
        if affine:
            self.biases = mx.zeros(groups)

    def dense(self) -> mx.array:
        """The matrix itself, [outputs, inputs], unpacked if it is quantized."""
        q = self.quantization
        return self.weight if q is None else self._unpacked(slice(None), q)

    def unpack(self) -> None:
        """Become dense in float32, once and for all."""
        if self.quantization is not None:
            self.weight = self.dense().astype(mx.float32)
            for name in ("scales", "biases"):
                self.pop(name, None)
            self.quantization = None

    def _unpacked(self, rows: mx.array | slice, q: Quantization) -> mx.array:
        return mx.dequantize(
            self.weight[rows],
            scales=self.scales[rows],
            biases=self.biases[rows] if "biases" in self else None,
            group_size=q.group_size,
            bits=q.bits,
            mode=q.mode,
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = self._product(x)
        y = y if self.group is None else mx.distributed.all_sum(y, group=self.group)
        return y if self.delta is None else self.delta(x, y)

    def _product(self, x: mx.array) -> mx.array:
        q = self.quantization
        if q is None:
            matrix = self.weight.T if self._transposed is None else self._transposed
            return mx.addmm(self.bias, x, matrix) if "bias" in self else x @ matrix
        if self.unpacks and x.size >= MANY * x.shape[-1]:
            y = self._unpacked_product(x)
            return y + self.bias if "bias" in self else y
        y = mx.quantized_matmul(
            x,
            self.weight,
            scales=self.scales,
            biases=self.get("biases"),
            transpose=True,
            group_size=q.group_size,
            bits=q.bits,
            mode=q.mode,
        )
        return y + self.bias if "bias" in self else y

    def _unpacked_product(self, x: mx.array) -> mx.array:
        """``x @ weight.T`` by BLAS, 20 times as fast as MLX's CPU kernel for packed weights.

        The matrix is unpacked again for the gradient of x: it is not kept until then.
        """

        def product(x: mx.array) -> mx.array:
            return x @ self.dense().T.astype(x.dtype)

        def gradient(x: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
            return cotangent @ self.dense().astype(x.dtype)

        function: Any = mx.custom_function(product)
        function.vjp(gradient)
        y: mx.array = function(x)
        return y

    def pretranspose(self) -> None:
        """Transpose a dense weight once; on the CPU in memory: BLAS reads it 1.8 times as fast."""
        if self.quantization is None:
            if not on_gpu():
                self.weight = mx.contiguous(self.weight.T).T
            self._transposed = self.weight.T
            mx.eval(self.weight, self._transposed)

    def rows(self, start: int, stop: int) -> Linear:
        """A matrix of outputs ``start`` to ``stop``, sharing memory with this one."""
        part = Linear(1, 1)
        part.quantization, part.unpacks = self.quantization, self.unpacks
        for name in self.parameters():
            part[name] = self[name][start:stop]
        part.delta = None if self.delta is None else self.delta.rows(start, stop)
        return part

    def widen(self) -> None:
        """Make what is floating-point float32, so that products of float32 inputs are."""
        for name, array in self.parameters().items():
            if mx.issubdtype(array.dtype, mx.floating):
                self[name] = array.astype(mx.float32)
        if self.delta is not None:
            self.delta = self.delta.astype(mx.float32)

    @staticmethod
    def joined(parts: list[Linear]) -> Linear | None:
        """One matrix with the outputs of all parts, or None if dtypes or quantizations differ."""
        first = parts[0]
        if any(
            p.quantization != first.quantization
            or {k: v.dtype for k, v in p.parameters().items()}
            != {k: v.dtype for k, v in first.parameters().items()}
            for p in parts
        ):
            return None
        whole = Linear(1, 1)
        whole.quantization = first.quantization
        whole.parts = tuple(len(part.weight) for part in parts)
        for name in first.parameters():
            whole[name] = mx.concatenate([part[name] for part in parts])
        return whole


class Embedding(Linear):
    """A table of rows [vocabulary, width], looked up by id; as a ``Linear`` it is the tied head."""

    def lookup(self, ids: mx.array) -> mx.array:
        """Rows of ids [...] -> [..., width]."""
        q = self.quantization
        rows = self.weight[ids] if q is None else self._unpacked(ids, q)
        if self.delta is not None:
            rows = rows + self.delta.b.T[ids] @ self.delta.a.T
        return rows


def products(x: mx.array, layers: Sequence[Any]) -> list[mx.array]:
    """``[layer(x) for layer in layers]``; layers of one kind may share work (``together``)."""
    together = getattr(layers[0], "together", None)
    if together is None or any(type(layer) is not type(layers[0]) for layer in layers):
        return [layer(x) for layer in layers]
    shared: list[mx.array] = together(x, layers)
    return shared
