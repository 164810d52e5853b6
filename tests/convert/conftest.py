"""Golden checkpoints, and a folder that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
CASES = (
    "gemma_tiny",
    "gemma_untied_mqa",
    "gemma_bf16_bin",
    "gemma2_tiny",
    "llama_tiny",
    "qwen2_tiny",
)


@pytest.fixture
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of a whole checkpoint, image tokenizer included, in the official layout."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(GOLDEN / "llama_tiny", folder, ignore=shutil.ignore_patterns("golden*", "case*"))
    shutil.copytree(GOLDEN / "vq_f16" / "chameleon", folder / "chameleon")
    return folder
