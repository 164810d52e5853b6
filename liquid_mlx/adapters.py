"""Adapters: low-rank changes of a model's matrices, as mlx-lm and PEFT store them.

They are laid over the loaded weights, quantized or not, and never change them: several at once,
each with a strength, and swapped without reading the base again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx

from liquid_mlx.display import brief
from liquid_mlx.errors import CheckpointError, SettingsError
from liquid_mlx.files import read_header, read_json, user_path
from liquid_mlx.hub import download, is_repo_id
from liquid_mlx.nn.backbone import JOINED, Backbone
from liquid_mlx.nn.linear import Delta, Linear

CONFIG = "adapter_config.json"
WEIGHTS, PEFT_WEIGHTS = "adapters.safetensors", "adapter_model.safetensors"
EMBEDDING = "model.embed_tokens"
MOST_SCALE, MOST_STRENGTH = 1e6, 100
_FACTOR = re.compile(r"(.+)\.(lora_a|lora_b|m)")
_PEFT_FACTOR = re.compile(
    r"base_model\.model\.(.+)\."
    r"(?:lora_(?P<linear>[AB])\.weight|lora_embedding_(?P<embedding>[AB])"
    r"|(?P<m>lora_magnitude_vector)(?:\.weight)?)"
)

AdapterName: TypeAlias = str | Path


@dataclass(frozen=True)
class Factors:
    """A change of a matrix [outputs, inputs]: ``(a @ b).T`` is added.

    ``a`` is [inputs, r] and ``b`` [r, outputs], its scale included. With DoRA's ``m`` [outputs],
    every row of the sum is then brought to this length.
    """

    a: mx.array
    b: mx.array
    m: mx.array | None = None


@dataclass(frozen=True)
class Adapter:
    """What an adapter's folder holds: ``factors`` by module, and whole ``tensors`` by name."""

    name: str
    factors: Mapping[str, Factors]
    tensors: Mapping[str, mx.array]


Attached = Sequence[tuple[Adapter, float]]


def read_adapters(names: AdapterName | Sequence[AdapterName]) -> list[tuple[Adapter, float]]:
    """Read adapters, each a folder or repo id, with ``=STRENGTH`` behind it if it is not 1.

    Raises:
        CheckpointError: one is missing, damaged, or of an unknown kind.
        SettingsError: a strength is not a number of -100 to 100.
        HubError: a repo cannot be had.
    """
    several = names if isinstance(names, Sequence) and not isinstance(names, str) else [names]
    return [(read_adapter(name), strength) for name, strength in map(parse, several)]


def parse(text: AdapterName) -> tuple[str, float]:
    """``"style=0.5"`` -> name and strength; without one it is 1."""
    if not isinstance(text, str | Path):
        raise CheckpointError(f"{brief(text)} is no adapter: give a folder or a repo id.")
    name, equals, number = str(text).rpartition("=")
    if not equals or user_path(text).is_dir():
        return str(text), 1.0
    try:
        strength = float(number)
    except ValueError:
        strength = float("nan")
    if not abs(strength) <= MOST_STRENGTH:
        raise SettingsError(
            f"The strength of the adapter {name[:100]} is {number[:40]!r}: give a number such as "
            "0.5."
        )
    return name, strength


def read_adapter(name: AdapterName) -> Adapter:
    """Read an adapter of mlx-lm (``adapters.safetensors``) or PEFT (``adapter_model...``)."""
    folder = user_path(name)
    if not folder.is_dir() and is_repo_id(str(name)):
        folder = download(str(name), [CONFIG, WEIGHTS, PEFT_WEIGHTS])
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no adapter folder {str(name)!r}: give the folder that holds {CONFIG}, or a "
            "repo id."
        )
    config = read_json(folder / CONFIG, CheckpointError)
    peft = (folder / PEFT_WEIGHTS).is_file() and not (folder / WEIGHTS).is_file()
    tensors = _read(folder / (PEFT_WEIGHTS if peft else WEIGHTS))
    if not tensors:
        raise CheckpointError(f"The adapter {folder} holds no tensors.")
    return (_from_peft if peft else _from_mlx_lm)(str(name), config, tensors)


def _read(path: Path) -> dict[str, mx.array]:
    read_header(path)
    try:
        tensors: dict[str, mx.array] = mx.load(str(path))  # type: ignore[assignment]
        mx.eval(tensors)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}).") from None
    for name, tensor in tensors.items():
        if not mx.issubdtype(tensor.dtype, mx.floating) or not mx.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name[:100]} is not made of finite numbers.")
    return tensors


def _from_mlx_lm(name: str, config: Mapping[str, Any], tensors: dict[str, mx.array]) -> Adapter:
    kind = config.get("fine_tune_type", "lora")
    if kind == "full":
        return Adapter(name, {}, tensors)
    if kind not in ("lora", "dora"):
        raise CheckpointError(f"The adapter {name} is of the unknown kind {str(kind)[:50]!r}.")
    parameters = config.get("lora_parameters")
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    scale = _number(name, "scale", scale)
    found: dict[str, dict[str, mx.array]] = {}
    for key, tensor in tensors.items():
        match = _FACTOR.fullmatch(key)
        if match is None:
            raise CheckpointError(f"The adapter {name} holds {key[:100]}, which is no LoRA factor.")
        found.setdefault(match[1], {})[match[2]] = tensor
    factors = {}
    for module, parts in found.items():
        a, b = (_matrix(name, module, parts.get(part)) for part in ("lora_a", "lora_b"))
        if module == EMBEDDING:  # rows are outputs: the table is the transpose of a linear layer
            a, b = b.T, a.T
        factors[module] = Factors(a, b * scale, parts.get("m"))
    return Adapter(name, factors, {})


def _from_peft(name: str, config: Mapping[str, Any], tensors: dict[str, mx.array]) -> Adapter:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("fan_in_fan_out"):
        raise CheckpointError(f"The adapter {name} is not LoRA ({str(kind)[:50]}).")
    found: dict[str, dict[str, mx.array]] = {}
    whole: dict[str, mx.array] = {}
    for key, tensor in tensors.items():
        match = _PEFT_FACTOR.fullmatch(key)
        if match is None:
            if "lora_" in key:
                raise CheckpointError(f"The adapter {name} holds {key[:100]}: unknown to PEFT.")
            whole[key.removeprefix("base_model.model.").replace("modules_to_save.", "")] = tensor
            continue
        found.setdefault(match[1], {})[match["linear"] or match["embedding"] or "m"] = tensor
    factors = {}
    for module, parts in found.items():
        a, b = (_matrix(name, module, parts.get(part)).T for part in ("A", "B"))
        if module == EMBEDDING:
            a, b = b.T, a.T
        factors[module] = Factors(
            a, b * peft_scale(name, config, module, a.shape[1]), parts.get("m")
        )
    return Adapter(name, factors, whole)


def peft_scale(name: str, config: Mapping[str, Any], module: str, rank: int) -> float:
    """What PEFT multiplies a module's product of rank r with: ``lora_alpha / r``, or / sqrt(r).

    ``alpha_pattern`` may have a value of its own for the module.
    """
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"The alpha_pattern of the adapter {name} is no object.")
    values = [v for end, v in patterns.items() if re.search(rf"(^|\.){re.escape(end)}$", module)]
    alpha = _number(name, "lora_alpha", values[0] if values else config.get("lora_alpha"))
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _number(name: str, key: str, value: Any) -> float:
    wrong = isinstance(value, bool) or not isinstance(value, (int, float))
    if wrong or not abs(value) <= MOST_SCALE:
        raise CheckpointError(f"The {CONFIG} of {name} has no {key} up to {MOST_SCALE:g}.")
    return float(value)


def _matrix(name: str, module: str, factor: mx.array | None) -> mx.array:
    if factor is None or factor.ndim != 2 or not factor.size:
        raise CheckpointError(
            f"The adapter {name} does not hold two matrices for {module[:100]}: it is damaged."
        )
    return factor.astype(mx.float32)


@dataclass(frozen=True)
class Place:
    """Where a matrix of the checkpoint is: these outputs of a layer, which may be joined."""

    layer: Linear
    start: int
    stop: int


def places(backbone: Backbone) -> dict[str, Place]:
    """Every matrix by its name in the checkpoint, in a fused backbone as in any other."""
    found = {}
    for path, module in backbone.named_modules():
        if isinstance(module, Linear):
            parent, _, last = path.rpartition(".")
            start = 0
            names = JOINED[last] if len(module.parts) > 1 else (last,)
            for name, size in zip(names, module.parts, strict=True):
                path = f"{parent}.{name}" if parent else name
                found[path] = Place(module, start, start + size)
                start += size
    return found


def attach(backbone: Backbone, adapters: Attached) -> None:
    """Lay adapters over a backbone, in place of those that were.

    Heads cut from it before do not change: make them anew.

    Raises:
        CheckpointError: an adapter changes what this model does not have, or another shape, or
            overflows the model's dtype; then nothing is changed.
    """
    known = places(backbone)
    for adapter, _ in adapters:
        for module, factors in adapter.factors.items():
            _check(adapter.name, module, factors, known)
    layers = {id(place.layer): place.layer for place in known.values()}
    deltas: dict[int, list[tuple[Place, Factors, float]]] = {key: [] for key in layers}
    for adapter, strength in adapters:
        for module, factors in adapter.factors.items():
            place = known[module]
            deltas[id(place.layer)].append((place, factors, strength))
    combined = {}
    for key, changes in deltas.items():
        combined[key] = _combined(layers[key], changes, backbone.dtype) if changes else None
    for key, layer in layers.items():
        layer.delta = combined[key]


def _check(name: str, module: str, factors: Factors, known: Mapping[str, Place]) -> None:
    place = known.get(module)
    if place is None:
        raise CheckpointError(
            f"The adapter {name} changes {module[:100]}, which this model does not have: it was "
            "made for another."
        )
    outputs, inputs = place.stop - place.start, place.layer.shape[1]
    shapes = (factors.a.shape[0], factors.b.shape[1])
    magnitudes = factors.m is None or factors.m.shape == (outputs,)
    if shapes != (inputs, outputs) or factors.a.shape[1] != factors.b.shape[0] or not magnitudes:
        raise CheckpointError(
            f"The adapter {name} was made for another model: its {module[:100]} has "
            f"{shapes[1]} x {shapes[0]} weights, this model's {outputs} x {inputs}."
        )


def _combined(
    layer: Linear, changes: Sequence[tuple[Place, Factors, float]], dtype: mx.Dtype
) -> Delta:
    """All changes of a layer as one: low-rank products add up, lengths of rows multiply."""
    outputs = layer.shape[0]
    gain, gained = mx.ones((outputs,)), False
    parts = []
    for place, factors, strength in changes:
        b = factors.b * strength
        if factors.m is not None:
            gained = True
            own = _gain(place, factors)
            b = b * own
            room = (place.start, outputs - place.stop)
            gain = gain + mx.pad(strength * (own - 1), room)
        parts.append((factors.a, mx.pad(b, [(0, 0), (place.start, outputs - place.stop)])))
    a = mx.concatenate([a for a, _ in parts], axis=1)
    b = mx.concatenate([b for _, b in parts], axis=0)
    bias = layer.bias.astype(mx.float32) if "bias" in layer else mx.zeros((outputs,))
    delta = (Delta(a, b, gain, bias * (1 - gain)) if gained else Delta(a, b)).astype(dtype)
    for part in (delta.a, delta.b, delta.gain, delta.shift):
        if part is not None:
            check_finite("An adapter's change of a matrix", part)
    return delta


def check_finite(name: str, array: mx.array) -> None:
    """Raise CheckpointError if a weight has overflowed with an adapter in it."""
    if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item():
        raise CheckpointError(
            f"{name[:100]} would not be finite in {str(array.dtype).rpartition('.')[2]}: give the "
            "adapter a smaller strength, or see whether it is damaged."
        )


def _gain(place: Place, factors: Factors) -> mx.array:
    """What DoRA multiplies a matrix's outputs with: float32 [outputs]."""
    assert factors.m is not None
    weight = place.layer.rows(place.start, place.stop).dense().astype(mx.float32)
    return factors.m / mx.linalg.norm(weight + (factors.a @ factors.b).T, axis=1)


def merged(tensor: mx.array, name: str, adapters: Attached) -> mx.array:
    """A tensor with the adapters' whole ones of its name: ``old + strength (new - old)``.

    Raises:
        CheckpointError: another shape, the base is quantized, or the result overflows.
    """
    for adapter, strength in adapters:
        new = adapter.tensors.get(name)
        if new is None:
            continue
        if new.shape != tensor.shape or not mx.issubdtype(tensor.dtype, mx.floating):
            raise CheckpointError(
                f"The adapter {adapter.name} was made for another model, or for one that is not "
                f"quantized: its {name[:100]} does not fit."
            )
        old = tensor.astype(mx.float32)
        tensor = (old + strength * (new.astype(mx.float32) - old)).astype(tensor.dtype)
        check_finite(name, tensor)
    return tensor


def check_tensors(names: Iterator[str] | Sequence[str], adapters: Attached) -> None:
    """Raise CheckpointError if an adapter's whole tensor is none of the model's names."""
    known = set(names)
    for adapter, _ in adapters:
        strange = sorted(adapter.tensors.keys() - known)
        if strange:
            raise CheckpointError(
                f"The adapter {adapter.name} holds {strange[0][:100]}, which this model does not "
                "have: it was made for another."
            )
