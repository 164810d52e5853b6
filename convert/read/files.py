"""Find and open the files of a checkpoint: the language model's shards, the image tokenizer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from liquid_mlx.config import NEEDED_TOKENS, TURN_TOKENS, VQGANConfig
from liquid_mlx.errors import CheckpointError
from liquid_mlx.files import read_bytes, read_tokenizer, read_weight_map

from .safetensors import open_safetensors
from .tensor import Stored
from .torch_file import open_torch

VQGAN = ("vqgan.yaml", "vqgan.ckpt")
MAX_YAML = 64_000  # the parser needs a second for that much

_FORMS: list[tuple[str, Callable[[Path], dict[str, Stored]]]] = [
    ("model.safetensors", open_safetensors),
    ("pytorch_model.bin", open_torch),
]


def open_weights(folder: Path) -> dict[str, Stored]:
    """Name -> place of the language model's tensors: safetensors or torch, whole or in shards.

    Raises:
        CheckpointError: there are no weights, a shard is missing, or a file is damaged.
    """
    for name, opener in _FORMS:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _open_shards(index, opener)
        if (folder / name).is_file():
            return opener(folder / name)
    raise CheckpointError(
        f"{folder} has no weights (model.safetensors or pytorch_model.bin, whole or in shards)."
    )


def _open_shards(index: Path, opener: Callable[[Path], dict[str, Stored]]) -> dict[str, Stored]:
    weight_map = read_weight_map(index)
    tensors: dict[str, Stored] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if not path.is_file():
            raise CheckpointError(f"{index.parent} has no {shard}, which its index names.")
        opened = opener(path)
        twice = tensors.keys() & opened.keys()
        if twice:
            raise CheckpointError(f"{min(twice)[:100]} is in {shard} and in another shard.")
        tensors |= opened
    lost = weight_map.keys() - tensors.keys()
    if lost:
        raise CheckpointError(f"{index} names {min(lost)[:100]}, which no shard holds.")
    return tensors


def find_vqgan(folder: Path, vqgan: Path | None, declared: bool = False) -> Path:
    """The folder with ``vqgan.yaml`` and ``vqgan.ckpt``: the one given, or near the checkpoint.

    ``declared`` is content with the first of the two.

    Raises:
        CheckpointError: there is none.
    """
    places = [folder / "chameleon", folder, folder.parent / "chameleon"]
    if vqgan is not None:
        vqgan = vqgan if vqgan.is_dir() else vqgan.parent
        places = [vqgan, vqgan / "chameleon"]
    for place in places:
        if all((place / name).is_file() for name in (VQGAN[:1] if declared else VQGAN)):
            return place
    raise CheckpointError(
        f"There is no vqgan.yaml with vqgan.ckpt in {' or '.join(map(str, places))}: "
        "give the image tokenizer's folder with --vqgan."
    )


def read_vqgan_config(path: Path) -> VQGANConfig:
    """Read ``vqgan.yaml``; raises CheckpointError if it does not describe an image tokenizer."""
    import yaml

    try:
        values = yaml.load(read_bytes(path, MAX_YAML, CheckpointError), _plain_loader())
        params = values["model"]["params"]
        return VQGANConfig.from_params(params)
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        reason = " ".join(str(e).split())[:200]
        raise CheckpointError(f"{path} does not describe a VQGAN ({reason}).") from None


def _plain_loader() -> Any:
    """PyYAML's safe loader without aliases, which can make a small file expand without end."""
    import yaml

    class PlainLoader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it uses aliases")
            return super().compose_node(parent, index)

    return PlainLoader


def tokenizer_ids(folder: Path) -> tuple[int, dict[str, int]]:
    """The number of text ids, added tokens included, and name -> id of the special tokens.

    Raises:
        CheckpointError: there is no tokenizer.json, or it is damaged.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        hint = ""
        if (folder / "tokenizer.model").is_file():
            hint = (
                " (only a tokenizer.model: transformers' AutoTokenizer.from_pretrained(...)"
                ".save_pretrained(...) writes one)"
            )
        raise CheckpointError(f"{folder} has no tokenizer.json{hint}.")
    tokenizer = read_tokenizer(path)
    ids = {name: tokenizer.token_to_id(f"<{name}>") for name in NEEDED_TOKENS + TURN_TOKENS}
    special = {name: token for name, token in ids.items() if token is not None}
    return tokenizer.get_vocab_size(with_added_tokens=True), special


def end_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a text, from generation_config.json, else from config.json."""
    value = generation.get("eos_token_id", config.get("eos_token_id"))
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if type(v) is int and v >= 0)
