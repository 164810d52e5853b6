"""``liquid caption``."""

from __future__ import annotations

import json
from pathlib import Path

from liquid_mlx import load
from liquid_mlx.cli.terminal import clean, one_line
from tests.cli.conftest import Run, in_terminal, screen

RED = "photos/red.png"


def test_captions_are_the_library_s(photos: Path, run: Run, model: str) -> None:
    done = run("caption", RED, "-m", "6", "-v")
    expected = load(model).caption(RED, max_tokens=6)
    assert done.stdout == clean(expected) + "\n"
    many = run("caption", "photos", "-m", "6").stdout.splitlines()
    assert many[2].split("\t") == [RED, one_line(expected)]


def test_json(photos: Path, run: Run) -> None:
    rows = json.loads(run("caption", "photos", "-m", "3", "--json").stdout)
    assert [row["picture"] for row in rows] == [f"photos/{n}.png" for n in ("blue", "green", "red")]
    lines = run("caption", "photos", "-m", "3", "--jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_txt_beside_every_picture(photos: Path, run: Run, model: str) -> None:
    (photos / "green.txt").write_text("mine")
    done = run("caption", "photos", "--txt", "-m", "5")
    assert "1 of 3 images have a .txt already" in done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert (photos / "green.txt").read_text() == "mine"
    expected = load(model).caption(RED, max_tokens=5)
    assert (photos / "red.txt").read_text() == expected + "\n"
    assert run("caption", "photos", "--txt", "-m", "5").stdout == ""
    run("caption", "photos", "--txt", "-m", "5", "--overwrite")
    assert (photos / "green.txt").read_text() != "mine"


def test_txt_needs_files(photos: Path, run: Run) -> None:
    done = run("caption", "-", "--txt", input=(photos / "red.png").read_bytes())
    assert done.exit_code == 1
    assert "--txt needs image files" in done.stderr


def test_a_bad_picture_does_not_stop_the_rest(photos: Path, run: Run) -> None:
    (photos / "empty.png").touch()
    done = run("caption", "photos", "-m", "2", "--txt")
    assert done.exit_code == 3
    assert len(done.stdout.splitlines()) == 3
    assert not (photos / "empty.txt").exists()


def test_sampled_captions_repeat(photos: Path, run: Run) -> None:
    flags = ["--temp", "1.2", "--seed", "3", "--top-k", "40", "--top-p", "0.9", "-m", "8"]
    first, again = (run("caption", "photos", *flags).stdout for _ in range(2))
    assert first == again


def test_a_table_on_a_terminal(photos: Path) -> None:
    done = in_terminal(["caption", "photos", "-m", "40"], columns=80)
    lines = screen(done.output)
    assert lines[0].split() == ["PICTURE", "CAPTION"]
    assert all(len(line) < 80 for line in lines)
