"""``config.json`` of a converted folder: the source's keys, mlx-lm's quantization, Liquid's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from liquid_mlx.config import LiquidConfig
from liquid_mlx.nn.linear import Quantization

from .quantize import Recipe
from .tensor import Part

# Keys of a source's config.json that are not true of the converted model, or that name code.
_DROPPED = (
    *("quantization", "quantization_config", "auto_map", "model_file", "dtype"),
    *("rope_parameters", "liquid"),
)


def written_config(
    values: Mapping[str, Any], config: LiquidConfig, parts: Sequence[Part], recipe: Recipe
) -> dict[str, Any]:
    """``config.json`` of the converted folder.

    What the source leaves to Hugging Face's defaults is spelled out: mlx-lm has other defaults.
    """
    written = {name: value for name, value in values.items() if name not in _DROPPED}
    spelled = asdict(config.backbone)
    spelled["rope_scaling"] = config.backbone.rope_scaling
    written |= {name: value for name, value in spelled.items() if value is not None}
    written["torch_dtype"] = config.dtype
    if recipe.quantization:
        written["quantization"] = quantization_section(parts, recipe.quantization)
        written["quantization_config"] = written["quantization"]
    written["liquid"] = config.liquid_section()
    return written


def quantization_section(parts: Sequence[Part], base: Quantization) -> dict[str, Any]:
    """As mlx-lm writes it: the most common settings, and each module that differs by its path.

    A module that is not quantized has ``false``.
    """

    def plain(settings: Quantization) -> dict[str, Any]:
        return {"group_size": settings.group_size, "bits": settings.bits, "mode": settings.mode}

    section = plain(base)
    for part in parts:
        if len(part.source.shape) == 2 and part.quantization != base:
            section[part.path] = plain(part.quantization) if part.quantization else False
    return section
