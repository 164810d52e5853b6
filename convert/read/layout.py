"""The tensors that a checkpoint must have, and a comparison with those that it has."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from mlx.utils import tree_flatten

from liquid_mlx.config import BackboneConfig, VQGANConfig
from liquid_mlx.errors import CheckpointError
from liquid_mlx.nn.vqgan import VQGAN

from .tensor import FLOATS, Rows

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

Shapes = dict[str, tuple[int, ...]]


def backbone_shapes(config: BackboneConfig) -> Shapes:
    """Name -> shape of the language model's tensors, in the order in which they are used."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    shapes: Shapes = {EMBEDDING: (config.vocab_size, hidden)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if config.model_type == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in [
            ("q", queries, hidden),
            ("k", keys, hidden),
            ("v", keys, hidden),
            ("o", hidden, queries),
        ]:
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, columns)
            if config.attention_bias and (name != "o" or config.model_type != "qwen2"):
                shapes[f"{prefix}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{prefix}mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{prefix}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{prefix}{norm}.weight": (hidden,) for norm in norms}
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def check_backbone(tensors: Mapping[str, Rows], config: BackboneConfig) -> Shapes:
    """Compare a checkpoint's tensors with what its config.json says; return the expected shapes.

    Rotary buffers of old checkpoints, and the head of a tied model, may be there as well.

    Raises:
        CheckpointError: tensors are missing, left over, of another shape, or no floats.
    """
    if config.num_hidden_layers > len(tensors):
        raise CheckpointError(
            f"config.json says {config.num_hidden_layers} layers, but the checkpoint holds "
            f"{len(tensors)} tensors in all."
        )
    expected = backbone_shapes(config)
    ignored = {HEAD} | {name for name in tensors if name.endswith("rotary_emb.inv_freq")}
    compare("checkpoint", expected, tensors, ignored)
    return expected


def check_vqgan(tensors: Mapping[str, Rows], config: VQGANConfig) -> Shapes:
    """The same for the image tokenizer; the returned shapes are in MLX's layout.

    Training leftovers (``loss.*``) may be there as well.
    """
    if len(config.ch_mult) * config.num_res_blocks > len(tensors):
        raise CheckpointError(
            f"vqgan.yaml says {len(config.ch_mult)} levels of {config.num_res_blocks} blocks, but "
            f"vqgan.ckpt holds {len(tensors)} tensors in all."
        )
    try:
        expected = expected_shapes(config)
    except (ValueError, TypeError, OverflowError, RuntimeError, MemoryError):
        raise CheckpointError("vqgan.yaml holds sizes that no image tokenizer has.") from None
    torch = {name: torch_shape(name, shape) for name, shape in expected.items()}
    ignored = {name for name in tensors if name.startswith("loss.")}
    compare("vqgan.ckpt", torch, tensors, ignored)
    return expected


def torch_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in ``vqgan.ckpt`` of a tensor that has ``shape`` here."""
    if name.endswith(".weight") and len(shape) == 4:
        outputs, height, width, inputs = shape
        return outputs, inputs, height, width
    return shape


def compare(
    what: str,
    expected: Shapes,
    tensors: Mapping[str, Rows],
    ignored: AbstractSet[str] = frozenset(),
) -> None:
    """Raise CheckpointError unless names and shapes are the expected ones and all are floats."""
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys() - ignored)
    if missing or extra:
        raise CheckpointError(
            f"The {what} does not fit its configuration: "
            + "; ".join(
                f"{len(names)} {word} ({_some(names)})"
                for names, word in ((missing, "missing"), (extra, "left over"))
                if names
            )
            + "."
        )
    for name, shape in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{name} in the {what} has the shape {tuple(tensor.shape)}, not {shape}."
            )
        if tensor.dtype not in FLOATS:
            raise CheckpointError(f"{name} in the {what} holds {tensor.dtype}, not weights.")


def _some(names: list[str]) -> str:
    return ", ".join(name[:100] for name in names[:4]) + (", ..." if len(names) > 4 else "")


def expected_shapes(config: VQGANConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of ``vqgan.safetensors``, in MLX's layout.

    Nothing is allocated: MLX arrays are lazy, and these are never evaluated.
    """
    tensors: Any = tree_flatten(VQGAN(config).parameters(), destination={})
    return {name: tensor.shape for name, tensor in tensors.items()}


def to_mlx_layout(name: str, array: np.ndarray) -> np.ndarray:
    """A tensor of ``vqgan.ckpt`` as the modules here want it.

    Convolution weights [out, in, rows, columns] become [out, rows, columns, in], contiguous; every
    other tensor is returned as it is.
    """
    if name.endswith(".weight") and array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    return array
