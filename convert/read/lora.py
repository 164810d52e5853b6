"""LoRA adapters in PEFT's layout, merged into the matrices that they change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import read_json

from .safetensors import open_safetensors
from .tensor import FLOATS, Rows, Stored

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MAX_ALPHA = 1e6
_PREFIX = "base_model.model."
# The names of the two factors: rows of the first are inputs, of the second outputs. An embedding
# is the transpose of a linear layer.
_FACTORS = {
    "lora_A.weight": ("linear", "lora_B.weight"),
    "lora_embedding_A": ("embedding", "lora_embedding_B"),
}


def merge(tensors: Mapping[str, Rows], folder: Path) -> dict[str, Rows]:
    """The checkpoint's tensors with the adapter in ``folder`` merged, block by block when read.

    Whole tensors in the adapter (``modules_to_save``) take the place of the checkpoint's.

    Raises:
        CheckpointError: the adapter is damaged, of an unknown kind, or made for another model.
    """
    config = read_json(folder / CONFIG, CheckpointError)
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("use_dora") or config.get("fan_in_fan_out"):
        raise CheckpointError(
            f"{folder} is not a plain LoRA adapter ({str(kind)[:50]}); only LoRA is merged."
        )
    stored = open_safetensors(folder / WEIGHTS)
    merged, used = dict(tensors), set[str]()
    for name, tensor in stored.items():
        module = name.removeprefix(_PREFIX)
        for first, (layer, second) in _FACTORS.items():
            if module.endswith(f".{first}"):
                path = module.removesuffix(f".{first}")
                other = name.removesuffix(first) + second
                pair = _pair(tensor, stored.get(other), layer)
                used |= {name, other}
                merged[f"{path}.weight"] = _merged(merged, path, pair, config, folder)
        if module in tensors and "lora_" not in module:
            if tensor.shape != tensors[module].shape or tensor.dtype not in FLOATS:
                raise CheckpointError(f"{module} of {folder} has another shape than the model's.")
            merged[module] = tensor
            used.add(name)
    if not used or stored.keys() - used:
        strange = min(stored.keys() - used, default="nothing")
        raise CheckpointError(f"{folder} holds {strange[:100]}, which this model cannot take.")
    return merged


def _pair(first: Stored, second: Stored | None, layer: str) -> tuple[mx.array, mx.array]:
    """(a [r, columns], b [rows, r]) in float32."""
    if second is None or len(first.shape) != 2 or len(second.shape) != 2:
        raise CheckpointError(f"{first.name[:100]} has no partner in {first.path}.")
    a = first.rows(0, first.shape[0]).astype(mx.float32)
    b = second.rows(0, second.shape[0]).astype(mx.float32)
    return (b.T, a.T) if layer == "embedding" else (a, b)


def _merged(
    tensors: Mapping[str, Rows],
    path: str,
    pair: tuple[mx.array, mx.array],
    config: Mapping[str, Any],
    folder: Path,
) -> Rows:
    a, b = pair
    base = tensors.get(f"{path}.weight")
    if base is None:
        raise CheckpointError(f"{folder} changes {path[:100]}, which this model does not have.")
    if (b.shape[0], a.shape[1]) != tuple(base.shape) or a.shape[0] != b.shape[1]:
        raise CheckpointError(f"{path} of {folder} has another shape than the model's.")
    rank = a.shape[0]
    scale = _alpha(config, path) / (rank**0.5 if config.get("use_rslora") else rank)
    return Merged(base, a, b, scale, folder / WEIGHTS)


def _alpha(config: Mapping[str, Any], path: str) -> float:
    """``lora_alpha``, unless ``alpha_pattern`` has a value for this module."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"The adapter's {CONFIG} has an alpha_pattern that is no object.")
    values = [
        value for end, value in patterns.items() if re.search(rf"(^|\.){re.escape(end)}$", path)
    ]
    alpha: Any = values[0] if values else config.get("lora_alpha")
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, (int, float))
        or not abs(alpha) <= MAX_ALPHA
    ):
        raise CheckpointError(f"The adapter's {CONFIG} has no lora_alpha up to {MAX_ALPHA:g}.")
    return float(alpha)


@dataclass(frozen=True)
class Merged:
    """A matrix plus ``scale * b @ a``: b [rows, r], a [r, columns], added in float32."""

    base: Rows
    a: mx.array
    b: mx.array
    scale: float
    adapter: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> str:
        return self.base.dtype

    @property
    def nbytes(self) -> int:
        return self.base.nbytes

    @property
    def files(self) -> frozenset[Path]:
        return self.base.files | {self.adapter}

    def check(self) -> None:
        self.base.check()

    def rows(self, start: int, stop: int) -> mx.array:
        rows = self.base.rows(start, stop)
        return (rows + self.scale * (self.b[start:stop] @ self.a)).astype(rows.dtype)
