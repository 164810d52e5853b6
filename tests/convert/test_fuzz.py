"""Five hundred damaged checkpoints: each converts or is refused with a clear error."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest

from liquid_mlx.config import LiquidConfig
from liquid_mlx.convert import convert
from liquid_mlx.convert.api import peak_memory
from liquid_mlx.errors import LiquidError
from tests.convert.conftest import copy_checkpoint
from tests.fuzz.damage import damage

ORDERS = 25
PER_FILE = 20
TARGETS = {  # which file of which checkpoint
    "model-00001-of-00002.safetensors": "llama_tiny",
    "model.safetensors.index.json": "llama_tiny",
    "config.json": "llama_tiny",
    "generation_config.json": "llama_tiny",
    "tokenizer.json": "llama_tiny",
    "chameleon/vqgan.ckpt": "llama_tiny",
    "chameleon/vqgan.yaml": "llama_tiny",
    "pytorch_model-00001-of-00002.bin": "gemma_bf16_bin",
    "pytorch_model.bin.index.json": "gemma_bf16_bin",
    "legacy": "llama_tiny",
}


def legacy(folder: Path) -> Path:
    """Swap the image tokenizer's file for one in torch's older form."""
    path = folder / "chameleon" / "vqgan.ckpt"
    shutil.copyfile(Path(__file__).parent.parent / "data" / "torch_files" / "legacy.ckpt", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("block", range(ORDERS))
def test_damaged_checkpoints(tmp_path: Path, block: int) -> None:
    chance = random.Random(block)
    before = peak_memory()
    for number in range(PER_FILE):
        name = list(TARGETS)[(block * PER_FILE + number) % len(TARGETS)]
        folder, out = tmp_path / "checkpoint", tmp_path / "out"
        copy_checkpoint(TARGETS[name], folder)
        path = legacy(folder) if name == "legacy" else folder / name
        damage(path, chance)
        try:
            convert(folder, out, verify_result=False)
            LiquidConfig.read(out)
        except LiquidError as error:
            message = str(error)
            assert 10 < len(message) < 1000, message
            assert "\n" not in message, message
            assert {p.name for p in tmp_path.iterdir()} == {"checkpoint"}
        shutil.rmtree(folder)
        shutil.rmtree(out, ignore_errors=True)
    assert peak_memory() - before < 400e6


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_declared_shapes_take_no_memory(checkpoint: Path, tmp_path: Path) -> None:
    """Sizes that fit each other but not the machine are refused for their size."""
    values = json.loads((checkpoint / "config.json").read_text())
    values["vocab_size"] = 2**30
    values["hidden_size"] = 2**24
    (checkpoint / "config.json").write_text(json.dumps(values))
    before = peak_memory()
    with pytest.raises(LiquidError):
        convert(checkpoint, tmp_path / "out")
    assert peak_memory() - before < 50e6
