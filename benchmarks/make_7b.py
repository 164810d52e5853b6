"""Write a synthetic checkpoint in the released 7B's layout and shapes.

    python -m benchmarks.make_7b FOLDER [--layers 28]

28 layers are the 7B: 17 GB of bfloat16. 3 layers are 3.6 GB. The weights are noise; names, shapes,
shards, the image tokenizer's file and the vocabulary are those of the release.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

from liquid_mlx.config import BackboneConfig, VQGANConfig
from liquid_mlx.convert.planning.tensor import Spec
from liquid_mlx.convert.read.layout import backbone_shapes, expected_shapes, torch_shape
from liquid_mlx.convert.write.safetensors import SafetensorsWriter

TEXT_IDS, CODES = 256_000, 8192
SHARD_BYTES = 5 << 30
CONFIG = {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 3072,
    "initializer_range": 0.02,
    "intermediate_size": 24576,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 16,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": TEXT_IDS + CODES,
}
VQGAN = {
    "embed_dim": 256,
    "n_embed": CODES,
    "ddconfig": {
        "double_z": False,
        "z_channels": 256,
        "resolution": 512,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 1, 2, 2, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}
SPECIAL = {0: "<pad>", 1: "<eos>", 2: "<bos>", 7: "<boi>", 8: "<eoi>", 9: "<unconditional>"}
SPECIAL |= {106: "<start_of_turn>", 107: "<end_of_turn>"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    config = {**CONFIG, "num_hidden_layers": options.layers}
    write_json(options.folder / "config.json", config)
    write_json(options.folder / "generation_config.json", {"bos_token_id": 2, "eos_token_id": 1})
    write_tokenizer(options.folder)
    write_weights(options.folder, BackboneConfig.from_dict(config))
    write_vqgan(options.folder / "chameleon")


def write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values))


def write_tokenizer(folder: Path) -> None:
    """One token for each id, the special ones where the release has them."""
    vocabulary = {SPECIAL.get(i, f"t{i}"): i for i in range(TEXT_IDS)}
    special = [
        {"id": i, "content": text, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for i, text in SPECIAL.items()
    ]
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"}
    splitter = {"type": "WhitespaceSplit"}
    write_json(
        folder / "tokenizer.json",
        {"version": "1.0", "added_tokens": special, "pre_tokenizer": splitter, "model": model},
    )
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **tokens}
    )


def noise() -> Iterator[memoryview]:
    """Endless bfloat16 noise in blocks of 32 MB; a few blocks are drawn and repeated."""
    normal = np.random.default_rng(0).standard_normal((4, 1 << 24), np.float32) * 0.02
    bits = (normal.view(np.uint32) >> 16).astype(np.uint16)
    while True:
        yield from (block.view(np.uint8).data for block in bits)


def write_weights(folder: Path, config: BackboneConfig) -> None:
    specs = [Spec(name, "bfloat16", shape) for name, shape in backbone_shapes(config).items()]
    shards: list[list[Spec]] = [[]]
    for spec in specs:
        if shards[-1] and sum(s.nbytes for s in shards[-1]) + spec.nbytes > SHARD_BYTES:
            shards.append([])
        shards[-1].append(spec)
    blocks, weight_map = noise(), {}
    for index, shard in enumerate(shards):
        name = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= {spec.name: name for spec in shard}
        with SafetensorsWriter(folder / name, shard, {"format": "pt"}) as writer:
            for spec in shard:
                left = spec.nbytes
                while left:
                    block = next(blocks)[:left]
                    writer.append(spec.name, block)
                    left -= len(block)
    size = sum(spec.nbytes for spec in specs)
    index_file = folder / "model.safetensors.index.json"
    write_json(index_file, {"metadata": {"total_size": size}, "weight_map": weight_map})


def write_vqgan(folder: Path) -> None:
    """``vqgan.yaml`` (JSON is YAML) and ``vqgan.ckpt`` in torch's zip form."""
    folder.mkdir()
    write_json(folder / "vqgan.yaml", {"model": {"params": VQGAN}})
    pickled = b"}S'state_dict'\n}"
    random = np.random.default_rng(1)
    with zipfile.ZipFile(folder / "vqgan.ckpt", "w") as archive:
        for key, (name, ours) in enumerate(expected_shapes(VQGANConfig.from_params(VQGAN)).items()):
            shape = torch_shape(name, ours)
            fan = max(1, int(np.prod(shape[1:])))
            array = random.standard_normal(shape, np.float32) / fan**0.5
            pickled += tensor_pickle(name, str(key), shape)
            archive.writestr(f"vqgan/data/{key}", array.tobytes())
        archive.writestr("vqgan/data.pkl", pickled + b"s.")


def tensor_pickle(name: str, key: str, shape: tuple[int, ...]) -> bytes:
    """Pickle operations that put a float32 tensor into the dictionary on the stack."""

    def numbers(values: tuple[int, ...]) -> str:
        return "(" + "".join(f"I{value}\n" for value in values) + "t"

    strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    size = int(np.prod(shape))
    storage = f"(S'storage'\nctorch\nFloatStorage\nS'{key}'\nS'cpu'\nI{size}\ntQ"
    return (
        f"S'{name}'\nctorch._utils\n_rebuild_tensor_v2\n({storage}I0\n{numbers(shape)}"
        f"{numbers(strides)}I00\nNtRs"
    ).encode()


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    main()
