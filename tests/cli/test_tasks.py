"""What ``liquid generate`` draws: the best of some, lines of a file, what is missing."""

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


def write_lines(*lines: object) -> None:
    Path("p.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_the_best_of_some_is_what_the_library_keeps(run: Run, model: str) -> None:
    flags = ["--best-of", "3", "--judge", "likelihood", "--count", "2", "--seed", "7"]
    done = run("generate", RED, "-o", "a.png", *flags)
    assert done.stdout.split() == ["a-1.png", "a-2.png"]
    expected = load(model).generate_image(RED, best_of=3, judge="likelihood", count=2, seed=7)
    for name, picture in zip(("a-1.png", "a-2.png"), expected, strict=True):
        assert np.array_equal(pixels(name), np.asarray(picture.image))
        assert read_settings(name)["best_of"]["judge"] == "likelihood"
    assert list(read_settings("a-2.png")["best_of"]["scores"]) == ["10", "11", "12"]
    seed = read_settings("a-2.png")["seed"]
    run("generate", "-C", "a-2.png", "-o", "again.png")  # the one picture, by its own seed
    assert read_settings("again.png")["seed"] == seed
    assert np.array_equal(pixels("again.png"), pixels("a-2.png"))


def test_all_candidates_are_written_if_asked(run: Run) -> None:
    flags = ["--best-of", "3", "--keep-all", "--seed", "7", "--prompt", "a blue square"]
    done = run("generate", RED, "-o", "{index}.png", *flags)
    names = ["1.png", "1-2.png", "1-3.png", "2.png", "2-2.png", "2-3.png"]
    assert done.stdout.split() == names
    found = [read_settings(name) for name in names]
    for three in (found[:3], found[3:]):
        assert {one["seed"] for one in three} == {7, 8, 9}
        scores = [one["best_of"]["score"] for one in three]
        assert scores == sorted(scores, reverse=True)
        assert len({one["prompt"] for one in three}) == 1


def test_pruned_candidates_are_counted(run: Run) -> None:
    run("generate", RED, "-o", "a.png", "--best-of", "3", "--prune", "--seed", "7")
    assert read_settings("a.png")["best_of"]["pruned"] == 1


def test_each_line_of_a_file_has_its_own_settings(run: Run, model: str) -> None:
    size = load(model).config.sizes[-1]
    write_lines(
        {"prompt": RED, "seed": 5, "guidance": 2.5, "temperature": 0.7, "top_k": 9},
        {"prompt": "a blue square", "size": str(size)},
        {"prompt": RED, "top_p": 0.8, "instruction": 2},
        {"prompt": "a star", "width": size.width, "height": size.height, "seed": 8},
    )
    done = run("generate", "--prompts-jsonl", "p.jsonl", "--seed", "20", "-o", "{index}.png")
    assert done.exit_code == 0
    assert sorted(done.stdout.split()) == ["1.png", "2.png", "3.png", "4.png"]
    found = [read_settings(f"{i}.png") for i in (1, 2, 3, 4)]
    assert [one["seed"] for one in found] == [5, 21, 22, 8]
    assert (found[0]["guidance"], found[0]["temperature"], found[0]["top_k"]) == (2.5, 0.7, 9)
    assert (found[2]["top_p"], found[2]["instruction"]) == (0.8, 2)
    assert Image.open("2.png").size == Image.open("4.png").size == (size.width, size.height)
    (alone,) = load(model).generate_image(RED, seed=22, top_p=0.8, instruction=2)
    assert np.array_equal(pixels("3.png"), np.asarray(alone.image))


def test_what_exists_is_skipped_when_a_run_goes_on(run: Run) -> None:
    write_lines(*({"prompt": RED, "seed": i} for i in range(4)))
    flags = ["--prompts-jsonl", "p.jsonl", "-o", "{index}.png", "--stats", "s.json"]
    assert run("generate", *flags).exit_code == 0
    before = {i: Path(f"{i}.png").read_bytes() for i in range(1, 5)}
    for name in ("2.png", "s-2.json", "4.png", "s-4.json"):
        Path(name).unlink()
    assert run("generate", *flags).exit_code == 1
    done = run("generate", *flags, "--skip-existing")
    assert (done.exit_code, done.stdout.split()) == (0, ["2.png", "4.png"])
    assert "2 of 4 images exist already" in done.stderr
    assert {i: Path(f"{i}.png").read_bytes() for i in range(1, 5)} == before
    assert Path("s-2.json").exists()
    done = run("generate", *flags, "--skip-existing", "--model", "no/such-model")
    assert (done.exit_code, done.stdout) == (0, "")  # nothing is left to draw


def test_statistics_are_written_beside_the_picture(run: Run, model: str) -> None:
    run("generate", RED, "-o", "a.png", "--seed", "3", "--stats", "new/s.json")
    found = json.loads(Path("new/s.json").read_text())
    liquid = load(model)
    expected = liquid.statistics("a.png")
    np.testing.assert_allclose(found["entropy"], expected.entropy, atol=1e-4)
    assert (found["prompt"], found["seed"]) == (RED, 3)
    run("generate", RED, "-o", "b.png", "--seed", "3", "--stats", "s.png")
    assert Image.open("s.png").width > 3 * Image.open("b.png").width


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1"),
        ("[]", "line 1: it is not an object"),
        ('{"prompt": " "}', "line 1: it has no prompt"),
        ('{"prompt": "x"}\n{"prompt": "x", "guidance": "much"}', "line 2: guidance is much"),
        ('{"prompt": "x", "guidance": NaN}', "line 1: guidance is nan"),
        ('{"prompt": "x", "seed": -1}', "line 1: seed is -1"),
        ('{"prompt": "x", "size": "big"}', "line 1"),
        ('{"prompt": "x", "width": "64"}', "line 1: width is '64'"),
        ('{"prompt": "x", "colour": 1}', "line 1: 'colour' is unknown"),
        ('{"prompt": "x", "model": "demo"}', "line 1: 'model' is unknown"),
        ("[" * 99999, "line 1"),
    ],
)
def test_a_line_that_cannot_be_drawn_is_named(run: Run, text: str, words: str) -> None:
    Path("p.jsonl").write_text(text)
    done = run("generate", "--prompts-jsonl", "p.jsonl", "-o", "{index}.png")
    assert done.exit_code == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--prompts-jsonl", "p.jsonl", RED], 2, "cannot be combined"),
        (["--prompts-jsonl", "p.jsonl", "--count", "2"], 2, "cannot be combined"),
        ([RED, "--skip-existing", "--overwrite"], 2, "cannot be combined"),
        ([RED, "--skip-existing"], 2, "without {seed}"),
        ([RED, "--best-of", "2", "--keep-all", "--prune"], 2, "cannot be combined"),
        ([RED, "--best-of", "2", "--keep-partial"], 2, "cannot be combined"),
        ([RED, "--best-of", "6000", "--count", "2"], 2, "at most 10000"),
        ([RED, "--best-of", "2", "--judge", "taste"], 1, "judge is 'taste'"),
        ([RED, "--stats", "s.txt"], 2, ".json or .png"),
        ([RED, "--instruction", "11"], 1, "instruction is 11"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    run: Run, arguments: list[str], code: int, words: str
) -> None:
    write_lines({"prompt": RED})
    done = run("generate", *arguments)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.replace("│", "").split())
    assert [path.name for path in Path().iterdir()] == ["p.jsonl"]
