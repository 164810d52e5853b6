"""What is installed: one package, the demo model inside, and nothing slow on the way in."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_the_demo_model(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    tops = {name.split("/")[0] for name in sizes}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"liquid_mlx"}
    for name in ("cli/main.py", "convert/__init__.py", "kernels/__init__.py", "py.typed"):
        assert f"liquid_mlx/{name}" in sizes
    demo = {name: size for name, size in sizes.items() if name.startswith("liquid_mlx/demo/")}
    for name in ("config.json", "model.safetensors", "vqgan.safetensors", "tokenizer.json"):
        assert f"liquid_mlx/demo/{name}" in demo
    assert sum(demo.values()) <= 12 * 2**20
    named = re.search(r"the wheel has (\d+) MB", (ROOT / "README.md").read_text("utf-8"))
    assert named
    assert abs(wheel.stat().st_size / 1e6 - int(named[1])) < 1


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_package_loads_nothing_heavy():
    assert not imported_by("import liquid_mlx") & {"mlx", "numpy", "PIL", "transformers", "torch"}


def test_drawing_and_asking_import_neither_mlx_lm_nor_transformers():
    assert not imported_by("import liquid_mlx.model") & {"mlx_lm", "transformers", "torch"}
