"""Looking at what was drawn: larger, in a viewer, in the terminal."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.cli.preview import Preview
from liquid_mlx.images import read_settings
from tests.cli.conftest import Run, in_terminal


def test_scale_makes_squares_of_pixels(run: Run) -> None:
    run("generate", "a red circle", "--seed", "1", "-o", "one.png")
    run("generate", "a red circle", "--seed", "1", "--scale", "3", "-o", "three.png")
    one, three = (np.asarray(Image.open(name)) for name in ("one.png", "three.png"))
    assert np.array_equal(three, one.repeat(3, axis=0).repeat(3, axis=1))
    assert read_settings("three.png") == read_settings("one.png")
    assert run("generate", "x", "--scale", "0").exit_code == 2


@pytest.fixture
def viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program by the names of the desktop's openers that writes down what it is given."""
    folder, opened = tmp_path / "bin", tmp_path / "opened"
    folder.mkdir()
    for name in ("open", "xdg-open"):
        (folder / name).write_text(
            f'#!/bin/sh\nfor file in "$@"; do echo "$file" >> {opened}; done\n'
        )
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return opened


def test_open_shows_every_image_in_the_viewer(run: Run, viewer: Path) -> None:
    done = run("generate", "a red circle", "--seed", "1,2", "-o", "./-{seed}.png", "--open")
    assert done.exit_code == 0
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if viewer.is_file() and len(viewer.read_text().splitlines()) == 2:
            break
        time.sleep(0.05)
    names = sorted(viewer.read_text().splitlines())
    assert names == [str(Path(f"-{seed}.png").absolute()) for seed in (1, 2)]


@pytest.mark.parametrize(
    "change", [("edit", "one.png", "a blue star", "--keep-rows", "2"), ("vary", "one.png")]
)
def test_changed_pictures_are_scaled_and_opened_too(
    change: tuple[str, ...], run: Run, viewer: Path
) -> None:
    run("generate", "a red circle", "--seed", "1", "-o", "one.png")
    plain = run(*change, "--seed", "2", "-o", "plain.png")
    done = run(*change, "--seed", "2", "-o", "large.png", "--scale", "2", "--open")
    assert (plain.exit_code, done.exit_code) == (0, 0)
    small, large = (np.asarray(Image.open(name)) for name in ("plain.png", "large.png"))
    assert np.array_equal(large, small.repeat(2, axis=0).repeat(2, axis=1))
    end = time.monotonic() + 30
    while time.monotonic() < end and not viewer.is_file():
        time.sleep(0.05)
    assert viewer.read_text().splitlines() == [str(Path("large.png").absolute())]


def test_without_a_viewer_open_says_so_and_the_image_is_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("generate", "a red circle", "-o", "out.png", "--open")
    assert done.exit_code == 0
    assert "open, which is not here" in done.stderr
    assert Path("out.png").is_file()


@pytest.mark.parametrize(
    ("name", "good"), [("iterm2", True), ("kitty", True), ("blocks", True), ("blocks256", False)]
)
def test_old_terminals_show_pictures_only_when_asked_to(name: str, good: bool) -> None:
    preview = Preview(64, 64, name)
    assert preview.active
    assert preview.good == good


def test_a_good_terminal_shows_the_image_unless_told_otherwise() -> None:
    def shown(*flags: str, colours: str = "truecolor") -> bool:
        arguments = ["generate", "a red circle", "-o", "out.png", "--overwrite", *flags]
        done = in_terminal(arguments, environment={"COLORTERM": colours})
        assert done.code == 0
        return "▀".encode() in done.output

    assert shown()
    assert not shown("--no-preview")
    assert not shown("--quiet")
    assert not shown(colours="")
    assert shown("--preview", colours="")
