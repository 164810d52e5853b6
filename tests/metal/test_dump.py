"""The dump holds what MLX would compile."""

import re
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from tests.metal.dump import dump, texts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return dump(tmp_path_factory.mktemp("dump"))


def test_every_kernel_and_dtype_is_there(files):
    names = " ".join(path.name for path in files)
    for kernel in ("sample_held", "sample_streamed", "group_moments", "group_apply"):
        for dtype in ("float", "bfloat16_t", "float16_t"):
            assert re.search(rf"liquid_{kernel}__\S*_{dtype}c?_", names), (kernel, dtype)
    assert "liquid_group_factors" in names


def test_files_are_complete(files):
    for path in files:
        text = path.read_text()
        assert "#include <metal_stdlib>" in text
        assert '#include "' not in text
        assert "typedef half float16_t;" in text
        assert f"void {path.stem}(" in text
        assert f'template [[host_name("{path.stem}")]]' in text


def test_short_inputs_are_in_the_constant_address_space(files):
    short = [path for path in files if "sample_held__1_4_" in path.name]
    assert short
    assert all(re.search(r"const constant \w+\* conditional", p.read_text()) for p in short)


def test_collecting_texts_leaves_mlx_as_it_was():
    before = mx.fast.metal_kernel
    texts()
    assert mx.fast.metal_kernel is before


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "tests.metal.dump", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "kernels written to" in done.stdout
    assert len(list((tmp_path / "out").glob("*.metal"))) > 30


@pytest.mark.skipif(not mx.metal.is_available(), reason="needs Apple's compiler")
def test_apples_compiler_takes_every_file(files, tmp_path):
    for path in files:
        command = ["xcrun", "-sdk", "macosx", "metal", "-c", str(path)]
        subprocess.run([*command, "-o", str(tmp_path / "out.air")], check=True)
