"""Matrices that are worked out while they are read: unpacked ones, and ones with a LoRA merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx.errors import CheckpointError
from liquid_mlx.nn.linear import Quantization

from .tensor import FLOATS, MLX, Rows, Stored


@dataclass(frozen=True)
class Packed:
    """A quantized matrix, read as the floats that it stands for."""

    weight: Stored
    scales: Stored
    biases: Stored | None
    quantization: Quantization
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        rows, words = self.weight.shape
        return rows, words * 32 // self.quantization.bits

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.weight, self.scales, self.biases) if tensor)

    @property
    def files(self) -> frozenset[Path]:
        return self.weight.files

    def check(self) -> None:
        """Safetensors files have no checksums."""

    def rows(self, start: int, stop: int) -> mx.array:
        return mx.dequantize(
            self.weight.rows(start, stop),
            self.scales.rows(start, stop),
            self.biases.rows(start, stop) if self.biases else None,
            group_size=self.quantization.group_size,
            bits=self.quantization.bits,
            mode=self.quantization.mode,
        ).astype(MLX[self.dtype])

    def products(self, start: int, stop: int, x: mx.array) -> mx.array:
        """``x @ rows.T`` of float32 x [T, columns] without unpacking: [T, stop - start]."""
        scales, biases = self.scales.rows(start, stop), None
        if self.biases:  # floats of one kind: MLX's CPU code is far slower on mixed ones
            scales = scales.astype(mx.float32)
            biases = self.biases.rows(start, stop).astype(mx.float32)
        return mx.quantized_matmul(
            x,
            self.weight.rows(start, stop),
            scales=scales,
            biases=biases,
            transpose=True,
            group_size=self.quantization.group_size,
            bits=self.quantization.bits,
            mode=self.quantization.mode,
        )


def unpack(
    tensors: Mapping[str, Stored], section: Mapping[str, Any], dtype: str
) -> dict[str, Rows]:
    """The tensors of a converted folder, quantized ones as the floats that they stand for.

    ``section`` is ``quantization`` of its config.json, ``dtype`` what fp modes are read as.

    Raises:
        CheckpointError: the section is damaged, or does not fit the tensors.
    """
    rows: dict[str, Rows] = dict(tensors)
    for name in tensors:
        path = name.removesuffix(".scales")
        if path == name:
            continue
        rows[f"{path}.weight"] = _packed(tensors, section, path, dtype)
        for suffix in ("scales", "biases"):
            rows.pop(f"{path}.{suffix}", None)
    return rows


def _packed(
    tensors: Mapping[str, Stored], section: Mapping[str, Any], path: str, dtype: str
) -> Packed:
    try:
        values = {**section, **(section.get(path) or {})}
        quantization = Quantization(
            values["bits"], values["group_size"], values.get("mode", "affine")
        )
        weight, scales = tensors[f"{path}.weight"], tensors[f"{path}.scales"]
        biases = tensors[f"{path}.biases"] if quantization.mode == "affine" else None
        packed = Packed(
            weight, scales, biases, quantization, scales.dtype if scales.dtype in FLOATS else dtype
        )
        rows, width = packed.shape
        sound = weight.dtype == "uint32" and scales.shape == (
            rows,
            width // quantization.group_size,
        )
        if not sound or (biases and (biases.shape, biases.dtype) != (scales.shape, scales.dtype)):
            raise ValueError("shapes differ")
        mx.eval(packed.rows(0, 1))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, RuntimeError) as e:
        raise CheckpointError(
            f"{path[:100]} does not fit the `quantization` part of config.json ({e}): "
            "convert the model again."
        ) from None
    return packed
