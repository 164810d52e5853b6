"""``liquid convert`` as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from liquid_mlx.cli.commands.convert import convert
from tests.convert.conftest import GOLDEN, VQGAN

app = typer.Typer()
app.command()(convert)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def source(case: str = "llama_tiny") -> list[object]:
    return ["--hf-path", GOLDEN / case, "--vqgan", VQGAN]


def test_it_says_what_it_does(tmp_path: Path) -> None:
    result = run(*source(), "--mlx-path", tmp_path / "out", "-q", "--q-group-size", 32)
    assert result.exit_code == 0
    for words in (
        *("4 bits, groups of 32", "8 bits, groups of 32", "bits per weight of the language model"),
        *("a Mac with 8 GB or more", "is ready", "of memory at most", "Relative error of weights"),
    ):
        assert words in result.stdout
    assert (tmp_path / "out" / "config.json").exists()


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    result = run(*source("gemma_tiny"), "--mlx-path", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert "4.98 MB become 4.98 MB" in result.stdout
    assert "GELU" in result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry", [True, False])
def test_json_is_all_that_is_on_stdout(tmp_path: Path, dry: bool) -> None:
    more = ["--dry-run"] if dry else []
    result = run(*source(), "--mlx-path", tmp_path / "out", "-q", "--q-bits", 8, "--json", *more)
    values = json.loads(result.stdout)
    assert 8 < values["bits_per_weight"] < 16  # down_proj's groups do not fit
    assert {part["part"] for part in values["parts"]} >= {"embedding", "attention", "MLP", "norms"}
    assert sum(part["bytes"] for part in values["parts"]) == values["bytes"]
    assert values["memory"]["smallest_mac_gb"] == 8
    if not dry:
        assert values["verification"]["cosine"] > 0.99
        assert values["peak_bytes"] > values["bytes"]


def test_sizes_and_quiet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(*source(), "--mlx-path", out, "--sizes", "64x64,96x32", "--quiet", "--no-verify")
    assert result.stdout == ""
    values = json.loads((out / "config.json").read_text())
    assert values["liquid"]["sizes"] == ["64x64", "96x32"]


def test_the_alias_of_mlx_lm(tmp_path: Path) -> None:
    result = run("--model", GOLDEN / "llama_tiny", "--vqgan", VQGAN, "--dry-run")
    assert result.exit_code == 0
