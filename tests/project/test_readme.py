"""The README's commands and code run as they are written, with the bundled model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, heading: str) -> str:
    """The first fenced block of a language under a heading."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]


def run(command: list[str], folder: Path, **options: object) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_commands_generate_answer_caption_and_chat(tmp_path):
    script = block("sh", "Generate, ask, caption, chat")
    out = run(["bash", "-euc", script], tmp_path, input="hello\n").splitlines()
    assert (tmp_path / "star.png").is_file()
    assert out[0] == "star.png"
    assert out[1].lower().rstrip(".") == "green"
    assert "blue star above" in out[2]
    assert len(out) > 3


@pytest.mark.slow
def test_the_python_code_runs(tmp_path):
    out = run([sys.executable, "-c", block("python", "From Python")], tmp_path).splitlines()
    assert out[63] == "64 64"
    assert "circle" in out[64].lower()
    assert (tmp_path / "again.png").is_file()
