"""``liquid generate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from liquid_mlx.images import read_settings
from tests.cli.conftest import Run, in_terminal

RED = "a red circle on a white background"


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_draws_what_the_library_draws(run: Run, model: str) -> None:
    done = run("generate", RED, "-o", "out.png", "--seed", "7", "--top-k", "20")
    assert (done.exit_code, done.stdout) == (0, "out.png\n")
    expected = load(model).generate_image(RED, seed=7, top_k=20)[0]
    assert np.array_equal(pixels("out.png"), np.asarray(expected.image))
    assert "seed 7" in done.stderr
    assert "tokens/s" in done.stderr


def test_every_setting_reaches_the_model(run: Run) -> None:
    flags = "--seed 5 --guidance 2.5 --temperature 0.7 --top-k 9 --top-p 0.8 --dtype float32"
    run("generate", RED, "-o", "out.png", *flags.split())
    settings = read_settings("out.png")
    expected = {"seed": 5, "guidance": 2.5, "temperature": 0.7, "top_k": 9, "top_p": 0.8}
    assert {name: settings[name] for name in expected} == expected
    assert (settings["prompt"], settings["dtype"]) == (RED, "float32")


def test_a_seed_that_was_not_given_is_told_stored_and_repeats(run: Run) -> None:
    first = run("generate", RED, "-o", "out.png")
    seed = read_settings("out.png")["seed"]
    assert f"seed {seed}" in first.stderr
    run("generate", RED, "-o", "again.png", "--seed", seed)
    assert np.array_equal(pixels("out.png"), pixels("again.png"))


def test_a_picture_repeats_from_its_metadata_bit_for_bit(run: Run) -> None:
    flags = ["--guidance", "3", "--temp", "0.8", "--top-k", "50", "--top-p", "0.9"]
    assert run("generate", RED, "-o", "out.png", *flags, "--metadata").exit_code == 0
    assert run("generate", "-C", "out.png", "-o", "again.png").exit_code == 0
    run("generate", "--config-from-metadata", "out.metadata.json", "-o", "third.png")
    assert Path("out.png").read_bytes() == Path("again.png").read_bytes()
    assert Path("out.png").read_bytes() == Path("third.png").read_bytes()


def test_flags_win_over_metadata(run: Run) -> None:
    run("generate", RED, "-o", "out.png", "--seed", "1", "--guidance", "2")
    run("generate", "a blue square", "-C", "out.png", "-o", "new.png", "--seed", "2")
    settings = read_settings("new.png")
    assert (settings["prompt"], settings["seed"]) == ("a blue square", 2)
    assert settings["guidance"] == 2


def test_without_metadata_nothing_of_the_prompt_is_in_the_file(run: Run) -> None:
    flags = ["--no-metadata", "--contact-sheet", "sheet.png", "--stepwise-image-output-dir", "s"]
    run("generate", "xylophone zebra", "-o", "out.png", "--seed", "987654321", *flags)
    for path in [Path("out.png"), Path("sheet.png"), *Path("s").iterdir()]:
        data = path.read_bytes()
        for word in (b"xylophone", b"zebra", b"987654321", b"liquid", b"tEXt", b"iTXt", b"zTXt"):
            assert word not in data
        assert not Image.open(path).info
    run("generate", "xylophone zebra", "-o", "with.png")
    assert b"xylophone" in Path("with.png").read_bytes()


def test_many_prompts_many_seeds(run: Run) -> None:
    Path("prompts.txt").write_text("a red circle\n\na blue square\n")
    done = run(
        "generate", "--prompt-file", "prompts.txt", "-p", "a star", "--seed", "1,2",
        "-o", "new/{index}-{prompt}-{seed}.png", "--contact-sheet", "new/sheet.png",
    )  # fmt: skip
    names = [
        "1-a-star-1", "2-a-star-2", "3-a-red-circle-1", "4-a-red-circle-2",
        "5-a-blue-square-1", "6-a-blue-square-2",
    ]  # fmt: skip
    assert done.stdout.split() == [f"new/{name}.png" for name in names]
    width, height = Image.open("new/sheet.png").size
    assert width > 3 * 256
    assert height > 2 * 256


def test_prompts_from_standard_input(run: Run) -> None:
    done = run("generate", "-", "--seed", "1", input="a red circle\na blue square\n")
    assert done.stdout.split() == ["a-red-circle-1.png", "a-blue-square-1.png"]


def test_count_takes_seeds_in_a_row_and_each_can_be_drawn_alone(run: Run) -> None:
    done = run("generate", RED, "--count", "3", "--seed", "4294967290", "-o", "c.png")
    assert done.stdout.split() == ["c-1.png", "c-2.png", "c-3.png"]
    run("generate", RED, "--seed", "4294967291", "-o", "alone.png")
    assert np.array_equal(pixels("alone.png"), pixels("c-2.png"))


def test_seeds_drawn_are_all_different(run: Run) -> None:
    done = run("generate", RED, "--auto-seeds", "3", "--json", "-o", "x.png")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["seed"] for row in rows}) == 3
    assert [row["path"] for row in rows] == ["x-1.png", "x-2.png", "x-3.png"]


def test_json_has_the_settings_and_the_speed(run: Run) -> None:
    row = json.loads(run("generate", RED, "-o", "out.png", "--json").stdout)
    settings = read_settings("out.png")
    assert {name: row[name] for name in settings} == settings
    assert row["tokens_per_second"] > 0
    assert row["seconds"] > 0


def test_sizes(run: Run, model: str) -> None:
    size = load(model).config.sizes[-1]
    run("generate", RED, "-o", "a.png", "--seed", "1", "--size", str(size))
    flags = ["--width", size.width, "--height", size.height]
    run("generate", RED, "-o", "b.png", "--seed", "1", *flags)
    assert Image.open("a.png").size == (size.width, size.height)
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    done = run("generate", RED, "-o", "c.png", "--size", "123x77")
    assert done.exit_code == 1
    assert "123x77" in done.stderr
    assert str(size) in done.stderr


def test_nothing_is_overwritten_unasked(run: Run) -> None:
    Path("out.png").write_text("mine")
    done = run("generate", RED, "-o", "out.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert Path("out.png").read_text() == "mine"
    assert run("generate", RED, "-o", "out.png", "--overwrite").exit_code == 0
    assert Image.open("out.png").size[0] > 0
    Path("new.metadata.json").touch()
    assert run("generate", RED, "-o", "new.png", "--metadata").exit_code == 1
    assert not Path("new.png").exists()


def test_steps_are_written_row_by_row(run: Run, model: str) -> None:
    flags = ["--stepwise-image-output-dir", "steps", "--seed", "1"]
    run("generate", RED, "-o", "out.png", *flags)
    config = load(model).config
    rows, _ = config.grid(config.sizes[0])
    steps = sorted(Path("steps").iterdir())
    assert [step.name for step in steps] == [f"out-{row + 1:03}.png" for row in range(rows)]
    heights = [Image.open(step).height for step in steps]
    assert heights == [(row + 1) * config.vqgan.factor for row in range(rows)]
    assert np.array_equal(pixels(steps[-1]), pixels("out.png"))


def interrupt_at(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C at this step."""
    from liquid_mlx.model import Liquid

    whole = Liquid.stream_images

    def stream(self: Liquid, prompts: list[str], **settings: Any) -> Any:
        for step in whole(self, prompts, **settings):
            yield step
            if step.position == position:
                raise KeyboardInterrupt

    monkeypatch.setattr(Liquid, "stream_images", stream)


def test_interrupted_it_keeps_the_rows_that_are_done_if_asked(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(model).config
    _, columns = config.grid(config.sizes[0])
    interrupt_at(3 * columns + 2, monkeypatch)
    assert run("generate", RED, "-o", "no.png").exit_code == 130
    done = run("generate", RED, "-o", "out.png", "--keep-partial", "--count", "2")
    assert done.exit_code == 130
    assert sorted(path.name for path in Path().glob("*.png")) == [
        "out-1-partial.png",
        "out-2-partial.png",
    ]
    assert Image.open("out-1-partial.png").height == 3 * config.vqgan.factor


def test_one_bad_prompt_does_not_stop_the_others(run: Run) -> None:
    done = run("generate", "a circle", "word " * 9000, "a square", "--seed", "1", "-o", "x.png")
    assert done.exit_code == 3
    assert done.stdout.split() == ["x-1.png", "x-3.png"]
    assert "too long" in done.stderr


def test_progress_on_a_terminal(model: str) -> None:
    done = in_terminal(["generate", RED, "-o", "out.png", "-v"], columns=100)
    text = done.output.decode()
    assert "tokens/s" in text
    assert "left" in text
    assert "peak memory" in text
    assert f"{model} loaded" in text
    assert in_terminal(["generate", RED, "-o", "quiet.png", "-q"]).output == b"quiet.png\r\n"


@pytest.mark.parametrize("value", ['{"seed": "x"}', '{"prompt": 3}', '{"model": ["a"]}'])
def test_metadata_of_another_kind_is_refused(value: str, run: Run) -> None:
    Path("bad.json").write_text(value)
    done = run("generate", RED, "-C", "bad.json", "-o", "out.png")
    assert done.exit_code == 1
    assert "was not written by liquid-mlx" in done.stderr


def test_a_models_note_is_told_once_when_no_word_is_known(
    run: Run, converted: Callable[..., Path], copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(converted("gemma_tiny"))
    config = json.loads((folder / "config.json").read_text())
    config["liquid"] |= {"note": "I only know shapes.", "words": ["circle"]}
    (folder / "config.json").write_text(json.dumps(config))
    done = run("generate", "a dog", "a cat", "--model", folder, "-o", "{index}.png")
    assert done.stderr.count("I only know shapes.") == 1
    done = run("generate", "a Circle", "--model", folder, "-o", "circle.png")
    assert "I only" not in done.stderr
    done = run("ask", "circle.png", "who?", "--model", folder, "-m", "2")
    assert "I only" not in done.stderr
    done = run("chat", "--model", folder, "-m", "2", input="/draw a dog\n/draw a cat\nwho?\n")
    assert done.stderr.count("I only know shapes.") == 1


def test_different_prompts_are_drawn_together_as_alone(run: Run, model: str) -> None:
    texts = [RED, "a small blue square", RED]
    done = run(
        *("generate", *texts, "--dtype", "float32", "--seed", "3", "--batch-size", "2"),
        *("-o", "{index}.png", "--json"),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["path"], line["prompt"], line["seed"]) for line in lines] == [
        (f"{i}.png", text, 3) for i, text in enumerate(texts, 1)
    ]
    liquid = load(model, dtype="float32")
    for i, text in enumerate(texts, 1):
        expected = liquid.generate_image(text, seed=3)[0]
        assert np.array_equal(pixels(f"{i}.png"), np.asarray(expected.image))


def test_a_prompt_that_fails_leaves_the_others_of_its_batch(run: Run) -> None:
    done = run("generate", RED, "word " * 9000, "a blue square", "--seed", "3", "-o", "{index}.png")
    assert done.exit_code == 3
    assert done.stdout == "1.png\n3.png\n"
    assert "too long" in done.stderr
