"""What a conversion will do, worked out from headers and configuration before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liquid_mlx.config import (
    LiquidConfig,
    Size,
    recommended_from,
    sizes_from,
    training_hints,
)
from liquid_mlx.errors import CheckpointError, UsageError
from liquid_mlx.files import read_json

from ..read.checkpoint import Origin
from ..read.files import end_ids, tokenizer_ids
from ..read.layout import EMBEDDING, backbone_shapes, expected_shapes
from .config_json import written_config
from .options import Options
from .quantize import Recipe, make_recipe
from .tensor import ConvPart, Part

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


@dataclass(frozen=True)
class Plan:
    """All that is known before the first weight is read; ``write_folder`` carries it out."""

    origin: Origin
    parts: Sequence[Part]
    vqgan_parts: Sequence[Part]
    config: LiquidConfig
    config_json: Mapping[str, Any]
    copied: Sequence[Path]
    notes: Sequence[str]

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
        return sum(part.source.nbytes for part in (*self.parts, *self.vqgan_parts))


def make_plan(
    origin: Origin,
    options: Options,
    source: Mapping[str, Any] | None = None,
) -> Plan:
    """Work out what becomes of every part.

    Args:
        origin: what is converted.
        options: what is asked for. Without sizes the source's own count, else one square of the
            image tokenizer's resolution.
        source: where the model comes from, for config.json and the model card.

    Raises:
        CheckpointError: the tokenizer is missing or does not go with the model.
        UsageError: what is asked for cannot be done with this source.
    """
    quantized = origin.converted is not None and origin.converted.quantization is not None
    if options.dequantize and not quantized:
        raise UsageError("--dequantize needs a quantized folder.")
    if quantized and not options.dequantize:
        raise UsageError(
            f"{origin.folder} is quantized already: start from the checkpoint, or --dequantize it."
        )
    recipe = make_recipe(options)
    dtype = recipe.dtype or origin.tensors[EMBEDDING].dtype
    parts = _parts(origin, recipe, dtype)
    config = _liquid_config(origin, options, source, dtype)
    return Plan(
        origin=origin,
        parts=parts,
        vqgan_parts=_vqgan_parts(origin, options.vqgan_dtype),
        config=config,
        config_json=written_config(origin.values, config, parts, recipe),
        copied=[origin.folder / name for name in COPIED if (origin.folder / name).is_file()],
        notes=[*origin.notes, *_notes(origin, recipe, parts)],
    )


def _parts(origin: Origin, recipe: Recipe, dtype: str) -> list[Part]:
    layers = origin.backbone.num_hidden_layers
    parts = []
    for name in backbone_shapes(origin.backbone):
        source = origin.tensors[name]
        quantization = None
        if len(source.shape) == 2:
            path = name.removesuffix(".weight")
            quantization = recipe.quantization_of(path, source.shape[1], layers)
        parts.append(Part(name, source, dtype, quantization))
    return parts


def _vqgan_parts(origin: Origin, dtype: str | None) -> list[Part]:
    kind = Part if origin.converted else ConvPart
    tensors = origin.vqgan_tensors
    return [
        kind(name, tensors[name], dtype or (tensors[name].dtype if origin.converted else "float32"))
        for name in expected_shapes(origin.vqgan)
    ]


def _notes(origin: Origin, recipe: Recipe, parts: Sequence[Part]) -> list[str]:
    """What the user should know about this conversion."""
    notes = []
    kept = [
        part.path
        for part in parts
        if len(part.source.shape) == 2 and recipe.quantization and not part.quantization
    ]
    if kept and recipe.embed_bits != 16:
        notes.append(
            f"{len(kept)} matrices are kept as they are, because their width is no multiple of "
            f"the group size: {', '.join(kept[:3])}{', ...' if len(kept) > 3 else ''}."
        )
    if origin.backbone.model_type == "gemma":
        notes.append(
            "mlx-lm computes Gemma's GELU exactly, Liquid was trained with the tanh "
            "approximation: logits there differ by about 0.001, and more in deep models."
        )
        if not origin.backbone.tie_word_embeddings:
            notes.append("mlx-lm has no Gemma with a head of its own: it cannot open this model.")
    return notes


def _liquid_config(
    origin: Origin, options: Options, source: Mapping[str, Any] | None, dtype: str
) -> LiquidConfig:
    if origin.converted:
        known = origin.converted
        return replace(
            known,
            sizes=tuple(options.pixel_sizes) or known.sizes,
            interleaved=options.interleaved or known.interleaved,
            dtype=dtype,
            quantization=None,
        )
    offset, special = tokenizer_ids(origin.folder)
    path = origin.folder / "generation_config.json"
    generation = read_json(path, CheckpointError) if path.is_file() else {}
    hints = _mapping(origin.values.get("liquid"))
    training = training_hints(hints)
    square = Size(origin.vqgan.resolution, origin.vqgan.resolution)
    hinted = sizes_from(hints["sizes"]) if hints.get("sizes") else ()
    return LiquidConfig(
        backbone=origin.backbone,
        vqgan=origin.vqgan,
        image_offset=offset,
        special=special,
        sizes=tuple(options.pixel_sizes or hinted or [square]),
        eos_ids=end_ids(origin.values, generation),
        recommended=recommended_from(_mapping(hints.get("recommended"))),
        source=source or {},
        dtype=dtype,
        **training | {"interleaved": options.interleaved or training["interleaved"]},
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
