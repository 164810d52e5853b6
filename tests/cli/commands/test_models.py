"""``liquid models`` and ``liquid info``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from liquid_mlx.config import LiquidConfig
from tests.cli.conftest import Run


@pytest.fixture
def cached(converted: Callable[..., Path], tmp_path: Path) -> Path:
    """A repo in the Hugging Face cache, with its weights as links to blobs."""
    repo = tmp_path / "hf" / "hub" / "models--someone--liquid-tiny"
    snapshot = repo / "snapshots" / "abc"
    shutil.copytree(converted("gemma_tiny"), snapshot)
    (repo / "blobs").mkdir()
    for path in snapshot.glob("*.safetensors"):
        path.rename(repo / "blobs" / path.name)
        path.symlink_to(repo / "blobs" / path.name)
    (tmp_path / "hf" / "hub" / "models--someone--other").mkdir()
    return repo


def found(run: Run, *arguments: object) -> dict[str, dict[str, object]]:
    rows = json.loads(run("models", "--json", *arguments).stdout)
    return {row["name"]: row for row in rows}


def test_lists_cached_and_converted_models(
    cached: Path, converted: Callable[..., Path], run: Run
) -> None:
    shutil.copytree(converted("llama_tiny"), "mine")
    Path("empty").mkdir()
    rows = found(run)
    cache, own = rows["someone/liquid-tiny"], rows["mine"]
    assert (cache["kind"], own["kind"]) == ("cached", "converted")
    assert cache["bytes"] == sum(p.stat().st_size for p in cached.glob("blobs/*"))
    assert own["fits"] is True
    assert "empty" not in rows
    text = run("models").stdout
    assert text.splitlines()[0].split() == ["MODEL", "KIND", "SIZE", "BITS", "IMAGES", "FITS"]
    assert "mine" in text


def test_other_folders_can_be_named(converted: Callable[..., Path], run: Run) -> None:
    shutil.copytree(converted("llama_tiny"), "far/away/model")
    assert "far/away/model" not in found(run)
    assert "far/away/model" in found(run, "far/away")


def test_a_model_too_large_does_not_fit(
    cached: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquid_mlx.memory.available", lambda: 10_000)
    assert found(run)["someone/liquid-tiny"]["fits"] is False


def test_delete(cached: Path, converted: Callable[..., Path], run: Run) -> None:
    shutil.copytree(converted("llama_tiny"), "mine")
    assert run("models", "--delete", "someone/liquid-tiny", input="n\n").exit_code == 0
    assert cached.exists()
    assert run("models", "--delete", "someone/liquid-tiny", input="y\n").exit_code == 0
    assert not cached.exists()
    assert run("models", "--delete", "mine", "--yes").exit_code == 0
    assert not Path("mine").exists()
    done = run("models", "--delete", "mine", "-y")
    assert done.exit_code == 1
    assert "`liquid models` lists them" in done.stderr


def test_only_models_are_deleted(run: Run) -> None:
    Path("precious").mkdir()
    Path("precious/config.json").write_text("{}")
    assert run("models", "--delete", "precious", "-y").exit_code == 1
    assert run("models", "--delete", "demo", "-y").exit_code == 1
    assert Path("precious/config.json").exists()


def test_info_of_a_model(converted: Callable[..., Path], run: Run) -> None:
    folder = converted("gemma_tiny")
    values = json.loads(run("info", folder, "--json").stdout)
    config = LiquidConfig.read(folder)
    assert values["layers"] == config.backbone.num_hidden_layers
    assert values["pictures"] == [str(size) for size in config.sizes]
    assert values["licence"]
    text = run("info", folder).stdout
    assert "architecture" in text
    assert "gemma" in text


def test_info_of_a_picture(run: Run) -> None:
    run("generate", "a red circle", "--seed", "3", "-o", "out.png")
    text = run("info", "out.png").stdout
    assert "prompt" in text
    assert "a red circle" in text
    assert json.loads(run("info", "out.png", "--json").stdout)["seed"] == 3


def test_info_of_a_picture_without_settings(run: Run) -> None:
    run("generate", "a red circle", "--no-metadata", "-o", "out.png")
    done = run("info", "out.png")
    assert done.exit_code == 1
    assert "no settings" in done.stderr
