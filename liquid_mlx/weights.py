"""A converted folder -> modules with weights: strict about names and shapes, nothing left lazy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from liquid_mlx.adapters import Attached, attach, check_tensors, merged
from liquid_mlx.config import LiquidConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_header, read_weight_map
from liquid_mlx.memory import require, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Linear, Quantization
from liquid_mlx.nn.vqgan import VQGAN

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def compute_dtype(config: LiquidConfig, dtype: str | None) -> mx.Dtype:
    """The dtype asked for, else the stored one; on the CPU float32, which is faster there."""
    name = dtype or (config.dtype if on_gpu() else "float32")
    if name not in DTYPES:
        raise SettingsError(f"Unknown dtype {name!r}: choose one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def load_backbone(
    folder: Path,
    config: LiquidConfig,
    dtype: str | None = None,
    *,
    adapters: Attached = (),
    fuse: bool = True,
) -> Backbone:
    """The language model of a converted folder, evaluated; fused unless it is to be trained.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors are missing, left over or of
            another shape than config.json says; or an adapter was made for another model.
        LowMemoryError: the weights do not fit this machine.
    """
    backbone = Backbone(config.backbone)
    backbone.dtype = compute_dtype(config, dtype)
    if config.quantization:
        _quantize(backbone, config.quantization)
    require(
        {"weights": weight_bytes(backbone, backbone.dtype)},
        "choose a smaller model, or convert it to fewer bits (liquid convert --q-bits 4)",
    )
    weights: dict[str, mx.array] = {}
    for path in weight_files(folder):
        weights.update(_read(path))
    check_tensors(list(weights), adapters)
    weights = {name: merged(tensor, name, adapters) for name, tensor in weights.items()}
    _fill(backbone, weights, backbone.dtype, folder)
    if fuse:
        backbone.fuse()
    attach(backbone, adapters)
    return backbone


def load_vqgan(folder: Path, config: LiquidConfig) -> VQGAN:
    """The image tokenizer of a converted folder, in float32 whatever it is stored in."""
    vqgan = VQGAN(config.vqgan)
    _fill(vqgan, _read(folder / "vqgan.safetensors"), mx.float32, folder)
    return vqgan


def _quantize(backbone: Backbone, settings: Mapping[str, Any]) -> None:
    """Quantize each linear layer as config.json's ``quantization`` says."""
    try:
        for name, module in backbone.named_modules():
            own = settings.get(name, settings) if isinstance(module, Linear) else False
            if own:
                how = {**settings, **own} if isinstance(own, Mapping) else settings
                module.quantize(
                    Quantization(how["bits"], how["group_size"], how.get("mode", "affine"))
                )
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"The `quantization` part of config.json is damaged ({error}): convert the model again."
        ) from None


def weight_files(folder: Path) -> list[Path]:
    """The language model's files in a converted folder."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    return [folder / name for name in sorted(set(read_weight_map(index).values()))]


def _read(path: Path) -> dict[str, mx.array]:
    if not path.exists():
        raise CheckpointError(f"{path.parent} has no {path.name}: convert the model again.")
    read_header(path)
    try:
        return mx.load(str(path))  # type: ignore[return-value]
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): convert the model again.") from None


def flat(module: nn.Module) -> dict[str, mx.array]:
    """Dotted name -> parameter."""
    return tree_flatten(module.parameters(), destination={})  # type: ignore[return-value]


def _fill(module: nn.Module, weights: dict[str, mx.array], dtype: mx.Dtype, folder: Path) -> None:
    """Load weights by name, with every difference an error, and evaluate them."""
    expected = {name: array.shape for name, array in flat(module).items()}
    missing, extra = sorted(expected - weights.keys()), sorted(weights.keys() - expected)
    if missing or extra:
        raise CheckpointError(
            f"The weights in {folder} do not fit its config.json: "
            + "; ".join(
                f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                for names, word in ((missing, "missing"), (extra, "left over"))
                if names
            )
        )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise CheckpointError(
                f"{name} in {folder} has the shape {weights[name].shape}, not {shape}."
            )
        if mx.issubdtype(weights[name].dtype, mx.floating):
            weights[name] = weights[name].astype(dtype)
    module.load_weights(list(weights.items()))
    weights.clear()
    try:
        mx.eval(module.parameters())
    except RuntimeError as error:  # a file cut short is noticed when it is read
        raise CheckpointError(f"The weights in {folder} cannot be read ({error}).") from None
