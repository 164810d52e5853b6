"""The models that the loops run: a folder in Hugging Face form, or a geometry of random weights."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import liquid_mlx
from liquid_mlx.convert import convert


@dataclass(frozen=True)
class Model:
    """A language model, where its codes are, and the settings it draws with.

    ``folder`` is a converted model (its root is a plain Hugging Face folder); None: random weights.
    """

    config: dict[str, Any]
    image_offset: int
    codes: int
    grid: int
    folder: Path | None = None

    @property
    def total(self) -> int:
        return self.grid * self.grid


def gemma(vocabulary: int, hidden: int, inner: int, layers: int, heads: int, width: int) -> dict:
    return {
        "model_type": "gemma",
        "architectures": ["GemmaForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }


MID = Model(gemma(264192, 1024, 2816, 12, 8, 128), 256000, 8192, 16)
LIQUID_7B = Model(gemma(264192, 3072, 24576, 28, 16, 256), 256000, 8192, 32)


def converted(folder: Path) -> Model:
    """A converted folder, for pictures of its first size."""
    config = json.loads((folder / "config.json").read_text())
    liquid = config["liquid"]
    factor = 2 ** (len(liquid["vqgan"]["ch_mult"]) - 1)
    grid = int(liquid["sizes"][0].split("x")[0]) // factor
    return Model(config, liquid["image_offset"], liquid["vqgan"]["n_embed"], grid, folder)


@cache
def dense_demo() -> tempfile.TemporaryDirectory[str]:
    """The bundled model with plain weights, which every loop opens, until this process ends."""
    folder = tempfile.TemporaryDirectory()
    bundled = Path(liquid_mlx.__file__).parent / "demo"
    convert(bundled, Path(folder.name) / "demo", dequantize=True, verify_result=False)
    return folder


def named(name: str) -> Model:
    """``mid``, ``7b``, ``demo`` or a converted folder without quantization."""
    if name == "mid":
        return MID
    if name == "7b":
        return LIQUID_7B
    if name == "demo":
        return converted(Path(dense_demo().name) / "demo")
    return converted(Path(name))
