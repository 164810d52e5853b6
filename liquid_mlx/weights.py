"""A converted folder -> modules with weights: strict about names and shapes, nothing left lazy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from liquid_mlx.adapters import Attached, attach, check_tensors, merged
from liquid_mlx.config import LiquidConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.display import brief
from liquid_mlx.distributed.shards import Shard, pipeline_shard, tensor_shard
from liquid_mlx.distributed.slices import TensorFiles
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_header, read_weight_map
from liquid_mlx.memory import available, require, weight_bytes
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Linear, Quantization
from liquid_mlx.nn.vqgan import VQGAN

TABLES = ("model.embed_tokens", "lm_head")
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def compute_dtype(config: LiquidConfig, dtype: str | None) -> mx.Dtype:
    """The dtype asked for, else the stored one; on the CPU float32, which is faster there."""
    name = (config.dtype if on_gpu() else "float32") if dtype is None else dtype
    if not isinstance(name, str) or name not in DTYPES:
        raise SettingsError(f"Unknown dtype {brief(name)!r}: choose one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def load_backbone(
    folder: Path,
    config: LiquidConfig,
    dtype: str | None = None,
    shard: Shard | None = None,
    *,
    adapters: Attached = (),
    fuse: bool = True,
) -> Backbone:
    """The language model of a converted folder, evaluated; fused unless it is to be trained.

    Of a shard the files' other parts are not read.

    Raises:
        CheckpointError: a file is missing or damaged, or tensors are missing, left over or of
            another shape than config.json says; or an adapter was made for another model.
        LowMemoryError: the weights do not fit this machine.
    """
    backbone = _empty(config, shard)
    backbone.dtype = compute_dtype(config, dtype)
    require(
        {"weights": weight_bytes(backbone, backbone.dtype)},
        "choose a smaller model, or convert it to fewer bits (liquid convert --q-bits 4)",
    )
    if shard is None:
        weights: dict[str, mx.array] = {}
        for path in weight_files(folder):
            weights.update(_read(path))
        check_tensors(list(weights), adapters)
        weights = {name: merged(tensor, name, adapters) for name, tensor in weights.items()}
        _fill(backbone, weights, backbone.dtype, folder)
    else:
        _fill_shard(backbone, _empty(config), TensorFiles(weight_files(folder)), folder)
    if fuse:
        backbone.fuse(unpack=_better_unpacked(backbone))
    attach(backbone, adapters)
    return backbone


def _better_unpacked(backbone: Backbone) -> bool:
    """Whether packed weights are to be unpacked once and for all: on a CPU, where MLX multiplies
    them much more slowly than BLAS does plain ones, if those fit a quarter of its memory."""
    if on_gpu() or backbone.dtype != mx.float32:
        return False
    sizes = [math.prod(m.shape) for m in backbone.modules() if isinstance(m, Linear)]
    return sum(sizes) * mx.float32.size <= available() // 4


def shard_for(
    config: LiquidConfig,
    group: mx.distributed.Group,
    layers: Sequence[int] | None = None,
) -> Shard:
    """This rank's part of a model: of every layer, or some of the layers.

    Args:
        layers: how many layers each rank has; None is a part of every layer.

    Raises:
        DistributedError: the model cannot be split so.
    """
    rank, size = group.rank(), group.size()
    if layers is not None:
        return pipeline_shard(
            config.backbone, rank, size, layers, group=group, text=config.image_offset
        )
    groups: dict[str, set[int]] = {"mlp.down_proj": set(), "self_attn.o_proj": set()}
    for name, module in _empty(config).named_modules():
        kind = ".".join(name.split(".")[-2:])
        if kind in groups and isinstance(module, Linear) and module.quantization is not None:
            groups[kind].add(module.quantization.group_size)
    return tensor_shard(
        config.backbone,
        rank,
        size,
        group=group,
        text=config.image_offset,
        mlp_groups=sorted(groups["mlp.down_proj"]),
        head_groups=sorted(groups["self_attn.o_proj"]),
    )


def _empty(config: LiquidConfig, shard: Shard | None = None) -> Backbone:
    """The modules of a model, or of a part of it, before they have weights."""
    backbone = Backbone(config.backbone, shard)
    if config.quantization:
        _quantize(backbone, config.quantization)
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
            name = backbone.shard.whole_name(name)
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


def _check(
    shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], folder: Path
) -> None:
    """Raise CheckpointError unless names and shapes are those that are expected."""
    missing, extra = sorted(shapes.keys() - found), sorted(found.keys() - shapes)
    if missing or extra:
        raise CheckpointError(
            f"The weights in {folder} do not fit its config.json: "
            + "; ".join(
                f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                for names, word in ((missing, "missing"), (extra, "left over"))
                if names
            )
        )
    for name, shape in shapes.items():
        if found[name] != shape:
            raise CheckpointError(f"{name} in {folder} has the shape {found[name]}, not {shape}.")


def _shapes(arrays: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in arrays.items()}


def _as(dtype: mx.Dtype, array: mx.array) -> mx.array:
    return array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array


def _fill(module: nn.Module, weights: dict[str, mx.array], dtype: mx.Dtype, folder: Path) -> None:
    """Load weights by name, with every difference an error, and evaluate them."""
    _check(_shapes(flat(module)), _shapes(weights), folder)
    module.load_weights([(name, _as(dtype, array)) for name, array in weights.items()])
    weights.clear()
    try:
        mx.eval(module.parameters())
    except RuntimeError as error:  # a file cut short is noticed when it is read
        raise CheckpointError(f"The weights in {folder} cannot be read ({error}).") from None


def _fill_shard(part: Backbone, whole: Backbone, files: TensorFiles, folder: Path) -> None:
    """Load one rank's part, tensor by tensor; the files are those of the whole model."""
    _check(_shapes(flat(whole)), files.shapes, folder)
    linear = {n: m for n, m in part.named_modules() if isinstance(m, Linear)}
    loaded: list[tuple[str, mx.array]] = []
    for name, empty in flat(part).items():
        module, _, kind = name.rpartition(".")
        place = part.shard.slice_of(module) if module in linear else None
        full = part.shard.whole_name(name)
        table = part.shard.table
        if table is not None and module in TABLES:
            rows = ((table.start, table.stop), (table.text, table.total))
            array = mx.concatenate([files.read(full, 0, *places) for places in rows])
        elif place is None:
            array = files.read(full)
        elif place.axis == 1 and kind == "bias":  # of a sum over ranks: added once
            array = files.read(full) if part.shard.rank == 0 else mx.zeros(empty.shape)
        else:
            stored = _stored(linear[module].quantization, kind) if place.axis else int
            array = files.read(full, place.axis, stored(place.start), stored(place.stop))
        array = _as(part.dtype, array)
        mx.eval(array)
        loaded.append((name, array))
    part.load_weights(loaded)
    part.bytes_read = files.bytes_read


def _stored(quantization: Quantization | None, kind: str) -> Callable[[int], int]:
    """Inputs -> the places that they take along a stored row of ``weight``, ``scales``, ..."""
    if quantization is None:
        return int
    if kind == "weight":
        return lambda inputs: inputs * quantization.bits // 32
    return lambda inputs: inputs // quantization.group_size
