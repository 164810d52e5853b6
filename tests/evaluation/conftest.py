"""A small model with random weights, and sets of prompts in their official layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from liquid_mlx import load
from liquid_mlx.model import Liquid


@pytest.fixture(scope="session")
def tiny(converted: Callable[..., Path]) -> Liquid:
    return load(converted("gemma_tiny"))


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    """name -> the official file or folder of a small set."""
    folder = tmp_path / "sets"
    (folder / "dpg").mkdir(parents=True)
    (folder / "prompts.txt").write_text("a red circle \na blue star\na dog\n")
    skills = {"basic": [1, 2, 3], "counting": [2]}
    (folder / "genai_skills.json").write_text(json.dumps(skills))
    data = {
        "abc": {"category": "animals", "prompt": "a dog", "name": "x"},
        "def": {"category": "art", "prompt": "a star"},
    }
    (folder / "meta_data.json").write_text(json.dumps(data))
    rows = [
        {"tag": "single_object", "include": [], "prompt": "a photo of a bench"},
        {"tag": "counting", "include": [], "prompt": "a photo of two cows"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name, text in (("0", "a red circle"), ("partiprompts7", "a blue star\n")):
        (folder / "dpg" / f"{name}.txt").write_text(text)
    return {
        "genai": folder / "prompts.txt",
        "mjhq": folder / "meta_data.json",
        "geneval": folder / "metadata.jsonl",
        "dpg": folder / "dpg",
        "custom": folder / "prompts.txt",
    }
