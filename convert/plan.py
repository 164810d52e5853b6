"""What a conversion will do, worked out from headers and configuration before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.config import (
    BackboneConfig,
    LiquidConfig,
    Size,
    VQGANConfig,
    read_json,
    recommended_from,
)
from liquid_mlx.convert.checkpoint import find_vqgan, open_weights, read_vqgan_config
from liquid_mlx.convert.names import EMBEDDING, check_backbone, check_vqgan
from liquid_mlx.convert.parts import ConvPart, Part
from liquid_mlx.convert.recipe import Recipe
from liquid_mlx.convert.stored import Rows, Stored
from liquid_mlx.convert.tokens import end_ids, read_tokenizer
from liquid_mlx.convert.torch_file import open_torch
from liquid_mlx.errors import CheckpointError
from liquid_mlx.linear import Quantization

SHARD_BYTES = 5 << 30

# Copied as they are. Nothing else of the source folder is taken along.
COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)

# Keys of a source's config.json that are not true of the converted model, or that name code.
_DROPPED = (
    *("quantization", "quantization_config", "auto_map", "model_file", "dtype"),
    *("rope_parameters", "liquid"),
)


@dataclass(frozen=True)
class Plan:
    """All that is known before the first weight is read; ``liquid_mlx.convert`` carries it out."""

    folder: Path
    parts: Sequence[Part]
    vqgan_parts: Sequence[Part]
    config: LiquidConfig
    config_json: Mapping[str, Any]
    copied: Sequence[Path]

    @property
    def shards(self) -> list[list[Part]]:
        """The language model's parts, file by file."""
        shards: list[list[Part]] = [[]]
        room = SHARD_BYTES
        for part in self.parts:
            if shards[-1] and part.nbytes > room:
                shards.append([])
                room = SHARD_BYTES
            shards[-1].append(part)
            room -= part.nbytes
        return shards

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def bits_per_weight(self) -> float:
        """Of the language model, scales and kept tensors included."""
        return 8 * sum(part.nbytes for part in self.parts) / self.parameters

    @property
    def nbytes(self) -> int:
        """Bytes of all weights that will be written."""
        return sum(part.nbytes for part in (*self.parts, *self.vqgan_parts))

    @property
    def source_bytes(self) -> int:
        """Bytes of all weights that will be read."""
        return sum(part.source_bytes for part in (*self.parts, *self.vqgan_parts))


def make_plan(
    folder: Path,
    recipe: Recipe,
    *,
    vqgan: Path | None = None,
    vqgan_dtype: str = "float32",
    sizes: Sequence[Size] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Plan:
    """Check a PyTorch checkpoint and plan its conversion.

    Raises:
        CheckpointError: something is missing, damaged, or does not belong together.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}.")
    values = read_json(folder / "config.json")
    backbone = BackboneConfig.from_dict(values)
    tensors = open_weights(folder)
    check_backbone(tensors, backbone)
    place = find_vqgan(folder, vqgan)
    vqgan_config = read_vqgan_config(place / "vqgan.yaml")
    vqgan_tensors = open_torch(place / "vqgan.ckpt")
    check_vqgan(vqgan_tensors, vqgan_config)
    dtype = recipe.dtype or tensors[EMBEDDING].dtype
    config = _liquid_config(folder, values, backbone, vqgan_config, sizes, source or {}, dtype)
    parts = _parts(tensors, backbone, recipe, dtype)
    return Plan(
        folder=folder,
        parts=parts,
        vqgan_parts=_vqgan_parts(vqgan_tensors, vqgan_config, vqgan_dtype),
        config=config,
        config_json=written_config(values, config, parts, recipe),
        copied=[folder / name for name in COPIED if (folder / name).is_file()],
    )


def _parts(
    tensors: Mapping[str, Rows], backbone: BackboneConfig, recipe: Recipe, dtype: str
) -> list[Part]:
    layers = backbone.num_hidden_layers
    parts = []
    for name in check_backbone(tensors, backbone):
        source = tensors[name]
        form = None
        if len(source.shape) == 2:
            form = recipe.form(name.removesuffix(".weight"), source.shape[1], layers)
        parts.append(Part(name, source, dtype, form))
    return parts


def _vqgan_parts(tensors: Mapping[str, Stored], config: VQGANConfig, dtype: str) -> list[Part]:
    expected = check_vqgan(tensors, config)
    return [ConvPart(name, tensors[name], dtype) for name in expected]


def _liquid_config(
    folder: Path,
    values: Mapping[str, Any],
    backbone: BackboneConfig,
    vqgan: VQGANConfig,
    sizes: Sequence[Size] | None,
    source: Mapping[str, Any],
    dtype: str,
) -> LiquidConfig:
    offset, special = read_tokenizer(folder)
    path = folder / "generation_config.json"
    generation = read_json(path) if path.is_file() else {}
    hints = _mapping(values.get("liquid"))
    sizes = sizes or [Size.parse(str(size)) for size in hints.get("sizes", ())]
    return LiquidConfig(
        backbone=backbone,
        vqgan=vqgan,
        image_offset=offset,
        special=special,
        sizes=tuple(sizes or [Size(vqgan.resolution, vqgan.resolution)]),
        eos_ids=end_ids(values, generation),
        recommended=recommended_from(_mapping(hints.get("recommended"))),
        source=source,
        dtype=dtype,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
    """mlx-lm's form: the most common settings, and each module that differs by its path.

    A module that is not quantized has ``false``.
    """

    def plain(form: Quantization) -> dict[str, Any]:
        return {"group_size": form.group_size, "bits": form.bits, "mode": form.mode}

    section = plain(base)
    for part in parts:
        if len(part.source.shape) == 2 and part.form != base:
            section[part.path] = plain(part.form) if part.form else False
    return section
