"""What is converted: a PyTorch checkpoint, or a folder that was converted before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liquid_mlx.config import BackboneConfig, LiquidConfig, VQGANConfig
from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import read_config

from . import lora as adapters
from .files import find_vqgan, open_weights, read_vqgan_config
from .layout import (
    HEAD,
    backbone_shapes,
    check_backbone,
    check_vqgan,
    compare,
    expected_shapes,
    torch_shape,
)
from .quantized import unpack
from .safetensors import open_safetensors
from .tensor import FLOATS, Declared, Rows
from .torch_file import open_torch


@dataclass(frozen=True)
class Origin:
    """A checked source: its tensors have the names and shapes that its configuration demands."""

    folder: Path
    values: Mapping[str, Any]
    backbone: BackboneConfig
    tensors: Mapping[str, Rows]
    vqgan: VQGANConfig
    vqgan_tensors: Mapping[str, Rows]
    converted: LiquidConfig | None = None
    notes: list[str] = field(default_factory=list)


def open_origin(
    folder: Path,
    vqgan: Path | None = None,
    adapter: Path | None = None,
    declared: bool = False,
) -> Origin:
    """Open the headers of a source's files and check them.

    Args:
        folder: a PyTorch checkpoint, or a converted folder.
        vqgan: the folder of ``vqgan.yaml`` and ``vqgan.ckpt``; None looks near the checkpoint.
        adapter: the folder of a LoRA adapter to merge.
        declared: weights need not be there; then config.json's word is taken for them.

    Raises:
        CheckpointError: something is missing, damaged, or does not belong together.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}.")
    values = read_config(folder)
    section = values.get("liquid")
    if isinstance(section, Mapping) and "image_offset" in section:
        origin = _converted(folder, values)
    else:
        origin = _checkpoint(folder, values, vqgan, declared)
    if adapter is None:
        return origin
    return replace(origin, tensors=adapters.merge(origin.tensors, adapter))


def _checkpoint(
    folder: Path, values: Mapping[str, Any], vqgan: Path | None, declared: bool
) -> Origin:
    backbone = BackboneConfig.from_dict(values)
    tensors: Mapping[str, Rows]
    if declared and not (any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))):
        tensors = _declared(backbone, values)
    else:
        tensors = open_weights(folder)
    check_backbone(tensors, backbone)
    place = find_vqgan(folder, vqgan, declared)
    config = read_vqgan_config(place / "vqgan.yaml")
    vqgan_tensors: Mapping[str, Rows]
    if declared and not (place / "vqgan.ckpt").is_file():
        vqgan_tensors = {
            name: Declared(torch_shape(name, shape), "float32")
            for name, shape in expected_shapes(config).items()
        }
    else:
        vqgan_tensors = open_torch(place / "vqgan.ckpt")
    check_vqgan(vqgan_tensors, config)
    notes = []
    if backbone.tie_word_embeddings and HEAD in tensors:
        notes.append("The stored lm_head.weight is not used: config.json ties it to the embedding.")
    return Origin(folder, values, backbone, tensors, config, vqgan_tensors, None, notes)


def _declared(backbone: BackboneConfig, values: Mapping[str, Any]) -> Mapping[str, Rows]:
    if backbone.num_hidden_layers > 1000:
        raise CheckpointError(f"config.json says {backbone.num_hidden_layers} layers.")
    dtype = values.get("torch_dtype") or values.get("dtype")
    stored = dtype if dtype in FLOATS else "bfloat16"
    return {name: Declared(shape, stored) for name, shape in backbone_shapes(backbone).items()}


def _converted(folder: Path, values: Mapping[str, Any]) -> Origin:
    config = LiquidConfig.from_dict(values)
    tensors = unpack(open_weights(folder), config.quantization or {}, config.dtype)
    check_backbone(tensors, config.backbone)
    vqgan = open_safetensors(folder / "vqgan.safetensors")
    compare("vqgan.safetensors", expected_shapes(config.vqgan), vqgan)
    return Origin(folder, values, config.backbone, tensors, config.vqgan, vqgan, config)
