"""Memory does not grow with the checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import make_7b
from liquid_mlx.config import BackboneConfig

PROGRAM = """
import sys
from liquid_mlx.convert import convert
print(convert(sys.argv[1], sys.argv[2], quantize=True).peak_bytes)
"""


@pytest.mark.slow
def test_peak_memory_is_far_below_the_checkpoint(tmp_path: Path) -> None:
    """0.9 GB, 0.55 GB of it one matrix, with the released vocabulary and image tokenizer."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "head_dim": 64}
    config = {**make_7b.CONFIG, **sizes, "num_hidden_layers": 2}
    make_7b.write_json(folder / "config.json", config)
    make_7b.write_tokenizer(folder)
    make_7b.write_weights(folder, BackboneConfig.from_dict(config))
    make_7b.write_vqgan(folder / "chameleon")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    command = [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert size > 0.85e9
    assert int(result.stdout) < 0.4e9
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["liquid"]["image_offset"] == 256_000
