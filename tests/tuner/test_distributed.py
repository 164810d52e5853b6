"""Two processes share every batch and end where one alone does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from tests.tuner import shared_run
from tests.tuner.conftest import trainer

LAUNCH = Path(sys.executable).with_name("mlx.launch")


@pytest.mark.slow
@pytest.mark.skipif(not LAUNCH.exists(), reason="this MLX brings no mlx.launch")
def test_two_processes_train_what_one_does(tiny, tmp_path):
    root = Path(__file__).parents[2]
    output = tmp_path / "shared.safetensors"
    command = [sys.executable, LAUNCH, "-n", "2", "--backend", "ring"]
    done = subprocess.run(
        [*map(str, command), shared_run.__file__, str(tiny), str(output)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert output.is_file(), done.stdout + done.stderr
    shared = mx.load(str(output))
    alone = trainer(tiny, shared_run.RUN)
    losses = [step.loss for step in alone.run()]
    np.testing.assert_allclose(np.array(shared.pop("losses")), losses, rtol=1e-4)
    moved = 0.0
    start = trainer(tiny, shared_run.RUN).state()
    for name, array in alone.state().items():
        if name.startswith("weights."):
            np.testing.assert_allclose(np.array(shared[name]), array, atol=3e-4, err_msg=name)
            moved = max(moved, float(mx.abs(array - start[name]).max()))
    assert moved > 1e-3
