"""A short run on every machine that ``mlx.launch`` starts: ``shared_run.py MODEL OUTPUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import mlx.core as mx

from tests.tuner.conftest import settings, trainer

RUN = settings(batch_size=4, iters=3, learning_rate=1e-3)


def main(folder: Path, output: Path) -> None:
    group = mx.distributed.init(strict=True, backend="ring")
    assert group.size() == 2
    shared = trainer(folder, RUN, group=group)
    steps = list(shared.run())
    if group.rank() == 0:
        losses = mx.array([step.loss for step in steps])
        mx.save_safetensors(str(output), {"losses": losses, **shared.state()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
