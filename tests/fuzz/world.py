"""What cases start from, made from the golden checkpoints: a model, a checkpoint, an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
from typer.testing import CliRunner

from liquid_mlx.cli.main import app
from liquid_mlx.convert import convert
from tests.convert.conftest import copy_checkpoint
from tests.fuzz.surfaces import World, tuning


def build(folder: Path) -> None:
    """Fill ``folder`` with ``model``, ``tuned`` (its adapter), ``checkpoint`` and ``adapter``."""
    source = copy_checkpoint("gemma_tiny", folder / "source")
    convert(source, folder / "model", verify_result=False)
    # A long prompt is too long for it: else minutes of a slow BLAS would look like a hang.
    values = json.loads((folder / "model" / "config.json").read_text())
    values["max_position_embeddings"] = 1024
    (folder / "model" / "config.json").write_text(json.dumps(values))
    (folder / "d.jsonl").write_text('{"text": "a red circle"}\n')
    argv = [*tuning(World.of(folder)), "-o", str(folder / "tuned")]
    CliRunner().invoke(app, argv, catch_exceptions=False)
    checkpoint = copy_checkpoint("llama_tiny", folder / "checkpoint")
    (folder / "adapter").mkdir()
    config = json.loads((checkpoint / "config.json").read_text())
    width, module = config["hidden_size"], "base_model.model.model.layers.0.mlp.gate_proj"
    factors = {
        f"{module}.lora_A.weight": mx.zeros((2, width)),
        f"{module}.lora_B.weight": mx.zeros((config["intermediate_size"], 2)),
    }
    mx.save_safetensors(str(folder / "adapter" / "adapter_model.safetensors"), factors)
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"gate_proj": 2}}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(values))
