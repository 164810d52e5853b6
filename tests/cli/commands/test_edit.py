"""``liquid edit`` and ``liquid vary``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.images import read_settings
from tests.cli.conftest import Run

RED = "a red circle on a white background"


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def kept(path: str) -> np.ndarray:
    return np.array([[c == "1" for c in row] for row in read_settings(path)["edit"]["kept"]])


@pytest.fixture
def drawn(run: Run) -> Path:
    assert run("generate", RED, "-o", "a.png", "--seed", "7", "--quiet").exit_code == 0
    return Path("a.png")


def test_edits_what_the_library_edits(run: Run, model: str, drawn: Path) -> None:
    flags = "--seed 3 --guidance 2 --temp 0.9 --top-k 9 --top-p 0.8 --count 2"
    done = run("edit", "a.png", "a blue star", "--keep-rows", "2", "-o", "b.png", *flags.split())
    assert (done.exit_code, done.stdout) == (0, "b-1.png\nb-2.png\n")
    settings = {"guidance": 2, "temperature": 0.9, "top_k": 9, "top_p": 0.8, "count": 2}
    liquid = load(model)
    expected = liquid.edit("a.png", "a blue star", rows=2, seed=3, **settings)
    for name, picture in zip(("b-1.png", "b-2.png"), expected, strict=True):
        assert np.array_equal(pixels(name), np.asarray(picture.image))
        assert kept(name)[:2].all()
        assert not kept(name)[2:].any()
    assert np.array_equal(liquid.codes("b-1.png")[:2], liquid.codes("a.png")[:2])


def test_a_mask_and_candidates(run: Run, model: str, drawn: Path) -> None:
    mask = Image.new("L", Image.open("a.png").size)
    mask.paste(255, (0, 0, mask.width // 2, mask.height // 2))
    mask.save("mask.png")
    flags = ["--mask", "mask.png", "--candidates", "3", "--seed", "3", "--json"]
    done = run("edit", "a.png", "a blue star", "-o", "b.png", *flags)
    row = json.loads(done.stdout)
    liquid = load(model)
    (picture,) = liquid.edit("a.png", "a blue star", mask=mask, candidates=3, seed=3)
    assert np.array_equal(pixels("b.png"), np.asarray(picture.image))
    assert list(row["best_of"]["scores"]) == ["3", "4", "5"]
    assert row["seed"] == picture.settings.seed
    before, after = liquid.codes("a.png"), liquid.codes("b.png")
    assert np.array_equal(before[kept("b.png")], after[kept("b.png")])


def test_the_settings_of_an_edit_cannot_draw_it_again(run: Run, drawn: Path) -> None:
    run("edit", "a.png", "a blue star", "--keep-rows", "2", "-o", "b.png")
    done = run("generate", "-C", "b.png", "-o", "c.png")
    assert (done.exit_code, "made from another picture" in done.stderr) == (2, True)
    assert not Path("c.png").exists()


def test_varies_what_the_library_varies(run: Run, model: str, drawn: Path) -> None:
    flags = ["--strength", "0.3", "--count", "2", "--seed", "8", "--stats", "s.json"]
    done = run("vary", "a.png", *flags)
    assert done.stdout.split() == ["a-varied-8.png", "a-varied-9.png"]
    expected = load(model).vary("a.png", strength=0.3, count=2, seed=8)
    for i, picture in enumerate(expected):
        name = f"a-varied-{8 + i}.png"
        assert np.array_equal(pixels(name), np.asarray(picture.image))
        assert read_settings(name)["variation"] == {"seed": 8 + i, "strength": 0.3}
        assert np.shape(json.loads(Path(f"s-{i + 1}.json").read_text())["rank"])
    run("vary", "a.png", "--strength", "0", "-o", "same.png")
    assert np.array_equal(pixels("same.png"), pixels("a.png"))


def test_a_photo_is_varied_under_a_prompt_or_its_caption(run: Run, photos: Path) -> None:
    source = photos / "red.png"
    run("vary", source, "--prompt", RED, "--strength", "0.5", "-o", "a.png")
    assert read_settings("a.png")["prompt"] == RED
    run("vary", source, "--strength", "0.5", "-o", "b.png")
    assert read_settings("b.png")["prompt"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["edit", "a.png", "x"], 2, "--keep-rows or --mask"),
        (["edit", "a.png", "x", "--keep-rows", "1", "--mask", "a.png"], 2, "--keep-rows or --mask"),
        (["edit", "a.png", "x", "--keep-rows", "1", "--candidates", "2"], 2, "needs a --mask"),
        (["edit", "a.png", "x", "--keep-rows", "999"], 1, "rows is 999"),
        (["edit", "none.png", "x", "--keep-rows", "1"], 1, "none.png does not exist"),
        (["edit", "a.png", "x", "--mask", "notes.md"], 1, "not a picture"),
        (["edit", "a.png", " ", "--keep-rows", "1"], 1, "prompt is empty"),
        (["vary", "a.png", "--strength", "2"], 1, "strength is 2"),
        (["vary", "a.png", "--stats", "s.txt"], 2, ".json or .png"),
        (["vary", "a.png", "-o", "a.png"], 1, "exists already"),
    ],
)
def test_bad_requests_are_one_sentence(
    run: Run, drawn: Path, arguments: list[str], code: int, words: str
) -> None:
    Path("notes.md").write_text("no picture")
    done = run(*arguments)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "notes.md"]
