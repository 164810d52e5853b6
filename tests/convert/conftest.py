"""Checkpoints that a test may change, and one wide enough for every group size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from liquid_mlx.config import BackboneConfig
from liquid_mlx.convert.read.layout import backbone_shapes

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
VQGAN = GOLDEN / "vq_f16" / "chameleon"


def copy_checkpoint(case: str, folder: Path) -> Path:
    """A whole golden checkpoint in the official layout, image tokenizer included."""
    leave = shutil.ignore_patterns("golden*", "case*")
    shutil.copytree(GOLDEN / case, folder, ignore=leave)
    shutil.copytree(VQGAN, folder / "chameleon")
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return copy_checkpoint("llama_tiny", tmp_path / "checkpoint")


def write_checkpoint(
    folder: Path, case: str = "llama_tiny", dtype: mx.Dtype = mx.float32, **changes: object
) -> Path:
    """A checkpoint with random weights: a golden case's, with other values in config.json."""
    copy_checkpoint(case, folder)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {}
    for index, (name, shape) in enumerate(
        backbone_shapes(BackboneConfig.from_dict(config)).items()
    ):
        noise = mx.random.normal(shape, key=mx.random.key(index)) * 0.05
        weights[name] = (noise if len(shape) == 2 else noise + 1).astype(dtype)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``wide(case) -> folder``: a checkpoint whose widths fit every group size."""
    root = tmp_path_factory.mktemp("wide")

    def make(case: str) -> Path:
        folder = root / case
        if not folder.exists():
            sizes = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
            heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
            write_checkpoint(folder, case, **sizes, **heads, num_hidden_layers=8)
        return folder

    return make
