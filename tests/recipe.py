"""Weights of the official geometry, from a formula instead of a file of gigabytes."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np

from liquid_mlx.files import read_json
from tests.conftest import GOLDEN

FULL = GOLDEN / "full_size_recipe"


@lru_cache(maxsize=1)
def recipe() -> dict[str, Any]:
    """``config`` of the language model, ``vq_params``, and what each tensor is made from."""
    return read_json(FULL / "recipe.json")


@lru_cache(maxsize=1)
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FULL / "golden_full.npz"))


def weights(part: str) -> dict[str, np.ndarray]:
    """Tensors of the part "llm" or "vq", in PyTorch's layout, float32."""
    tensors = {}
    for name, form in recipe()[part].items():
        random = np.random.RandomState(zlib.crc32(f"{recipe()['seed']}:{name}".encode()))
        drawn = random.standard_normal(form["shape"]) * form["std"] + form["mean"]
        tensors[name] = drawn.astype(np.float32)
    if part == "vq":
        for name in ("quant_conv", "decoder.conv_out"):
            tensors[f"{name}.weight"] *= golden()[f"vq/{name}.row_scale"][:, None, None, None]
            tensors[f"{name}.bias"] = golden()[f"vq/{name}.bias"]
    return tensors
