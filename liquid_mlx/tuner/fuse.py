"""Adapters into the weights: a whole folder of the same form, quantized again if it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from liquid_mlx.adapters import (
    AdapterName,
    Attached,
    attach,
    check_finite,
    merged,
    places,
    read_adapters,
)
from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert.write.atomic import atomic_folder, check_target
from liquid_mlx.convert.write.upload import check_upload, upload
from liquid_mlx.errors import UsageError
from liquid_mlx.files import read_config, read_header, user_path
from liquid_mlx.hub import resolve
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Delta, Linear, Quantization
from liquid_mlx.weights import load_backbone, weight_files

COPIED = ("tokenizer*", "special_tokens_map.json", "generation_config.json", "vqgan.safetensors")


def fuse(
    model: str | Path,
    adapter: AdapterName | Sequence[AdapterName],
    output: str | Path,
    *,
    dequantize: bool = False,
    upload_repo: str | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Path:
    """Write a converted folder with the adapters merged into the weights.

    Files, names, dtypes and quantization are those of ``model``. The folder appears whole or not
    at all; memory holds the model once.

    Args:
        dequantize: write what was quantized in the model's dtype.
        upload_repo: where on the Hugging Face Hub to put the result.

    Raises:
        LiquidError: model or adapter are missing, damaged or do not fit, the folder exists.
    """
    names = [adapter] if isinstance(adapter, (str, Path)) else list(adapter)
    if not names:
        raise UsageError("Give an adapter to fuse.")
    target = user_path(output)
    check_target(target)
    if upload_repo:
        check_upload(upload_repo)
    folder = resolve(model)
    config = LiquidConfig.read(folder)
    adapters = read_adapters(names)
    tell("reading the model")
    backbone = load_backbone(folder, config, config.dtype, adapters=adapters, fuse=False)
    backbone.dtype = mx.float32
    attach(backbone, adapters)  # once more: what is written is rounded once, at its end
    with atomic_folder(target) as tmp:
        files = weight_files(folder)
        for i, file in enumerate(files):
            tell(f"fusing {file.name} ({i + 1} of {len(files)})")
            _write_shard(file, tmp / file.name, backbone, adapters, dequantize)
        index = folder / "model.safetensors.index.json"
        if index.is_file() and not dequantize:
            shutil.copyfile(index, tmp / index.name)
        elif index.is_file():
            _write_index(tmp, [file.name for file in files])
        for pattern in COPIED:
            for path in folder.glob(pattern):
                shutil.copyfile(path, tmp / path.name)
        values = _config(folder, adapters, dequantize)
        (tmp / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        (tmp / "README.md").write_text(card(target.name, str(model), adapters), encoding="utf-8")
    if upload_repo:
        upload(target, upload_repo)
    return target


def _write_shard(
    source: Path, target: Path, backbone: Backbone, adapters: Attached, dequantize: bool
) -> None:
    """One file of weights with everything merged, in its own dtypes."""
    tensors: dict[str, mx.array] = mx.load(str(source))  # type: ignore[assignment]
    written = {name: merged(tensor, name, adapters) for name, tensor in tensors.items()}
    for path, place in places(backbone).items():
        layer, weight = place.layer, f"{path}.weight"
        unpacked = dequantize and layer.quantization is not None
        if weight not in tensors or (layer.delta is None and not unpacked):
            continue
        stored = tensors.get(f"{path}.scales", tensors[weight]).dtype
        for name in ("weight", "scales", "biases"):
            written.pop(f"{path}.{name}", None)
        whole = matrix(layer).astype(stored if mx.issubdtype(stored, mx.floating) else mx.bfloat16)
        check_finite(weight, whole)  # packed, it would not show
        q = None if dequantize else layer.quantization
        parts = {"weight": whole} if q is None else quantized(whole, q)
        written |= {f"{path}.{name}": array for name, array in parts.items()}
    for name, array in written.items():
        check_finite(name, array)
    with target.open("wb") as file:  # by its name MLX raises no OSError
        mx.save_safetensors(file, written, {"format": "mlx"})


def matrix(layer: Linear) -> mx.array:
    """The matrix that a layer and its adapters amount to: float32 [outputs, inputs]."""
    weight = layer.dense().astype(mx.float32)
    delta: Delta | None = layer.delta
    if delta is None:
        return weight
    if delta.gain is not None:
        weight = weight * delta.gain.astype(mx.float32)[:, None]
    return weight + (delta.a.astype(mx.float32) @ delta.b.astype(mx.float32)).T


def quantized(weight: mx.array, q: Quantization) -> dict[str, mx.array]:
    """A matrix packed as it was before."""
    packed = mx.quantize(weight, group_size=q.group_size, bits=q.bits, mode=q.mode)
    return dict(zip(("weight", "scales", "biases"), packed, strict=False))


def _write_index(folder: Path, names: Sequence[str]) -> None:
    weight_map, total = {}, 0
    for name in names:
        header, _ = read_header(folder / name)
        for tensor, entry in header.items():
            weight_map[tensor] = name
            total += entry["data_offsets"][1] - entry["data_offsets"][0]
    values = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _config(folder: Path, adapters: Attached, dequantize: bool) -> Mapping[str, Any]:
    """The model's ``config.json``, with what was fused noted in its source."""
    values = read_config(folder)
    if dequantize:
        values.pop("quantization", None)
        values.pop("quantization_config", None)
    section = values["liquid"]
    names = [Path(adapter.name).name for adapter, _ in adapters]
    section["source"] = {**section.get("source", {}), "fused": names}
    return values


def card(name: str, model: str, adapters: Attached) -> str:
    """The model card of a fused folder."""
    listed = ", ".join(
        f"{Path(adapter.name).name}" + ("" if strength == 1 else f" (strength {strength:g})")
        for adapter, strength in adapters
    )
    base = " ".join(model.split())
    return "\n".join(
        [
            "---",
            "library_name: mlx",
            "pipeline_tag: any-to-any",
            "tags:",
            *(f"- {tag}" for tag in ("mlx", "liquid", "text-to-image", "lora")),
            "---",
            f"# {name}",
            "",
            f"{base}, with the adapter {listed} in its weights, for liquid-mlx.",
            "",
            "```sh",
            f'liquid generate "a red circle" --model {name}',
            "```",
            "",
            "The weights stay under the licence of the model that they come from.",
            "",
        ]
    )
