"""``liquid finetune``, ``--adapter`` and ``liquid fuse`` from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from liquid_mlx import load
from tests.cli.conftest import LIQUID, Run
from tests.conftest import heed_interrupts
from tests.tuner.conftest import lines

QUICK = ("--iters", 3, "--batch-size", 2, "--lr", 1e-2, "--val-split", 0)


@pytest.fixture
def tiny(converted: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return converted("llama_tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures with captions."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (32, 32), (60 * i, 50, 90)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"colour {i}\n")
    return folder


def test_a_run_writes_an_adapter_its_log_its_curve_and_its_previews(
    run: Run, tiny: Path, data: Path
) -> None:
    result = run(
        *("finetune", data, "--model", tiny, "-o", "out", "--iters", 4, "--batch-size", 2),
        *("--lr", 1e-2, "--preview", "colour 1", "--preview", "colour 2", "--preview-every", 2),
        *("--val-split", 0.25, "--eval-every", 2, "--save-every", 2),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "out\n"
    rows = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "valid_loss" in row] == [0, 2, 4]
    config = json.loads(Path("out/adapter_config.json").read_text())
    assert config["fine_tune_type"] == "lora"
    assert config["num_layers"] == 3
    names = {path.name for path in Path("out").iterdir()}
    assert {"adapters.safetensors", "0000002_adapters.safetensors", "loss.png"} <= names
    card = Path("out/README.md").read_text()
    assert "lora, rank 8" in card
    assert "--adapter out" in card
    with Image.open("out/previews.png") as strip:
        assert strip.width > 2 * 128
        assert strip.height > 3 * 128
    assert "memory, predicted" in result.stderr


def test_an_adapter_works_in_every_command_that_generates(run: Run, tiny: Path, data: Path) -> None:
    assert run("finetune", data, "--model", tiny, "-o", "out", *QUICK).exit_code == 0
    common = ("--model", tiny, "--adapter", "out=0.5")
    drawn = run("generate", "colour 1", "-o", "a.png", "--seed", 1, *common)
    assert drawn.exit_code == 0, drawn.stderr
    expected = load(tiny, adapter="out=0.5").generate_image("colour 1", seed=1)[0]
    np.testing.assert_array_equal(np.asarray(Image.open("a.png")), np.asarray(expected.image))
    again = run("generate", "-C", "a.png", "-o", "b.png", "--model", tiny)
    assert again.exit_code == 0, again.stderr
    np.testing.assert_array_equal(np.asarray(Image.open("b.png")), np.asarray(expected.image))
    answer = run("ask", data / "1.png", "what?", "-m", 4, *common)
    asked = load(tiny, adapter="out=0.5").answer(data / "1.png", "what?", max_tokens=4)
    assert (answer.exit_code, answer.stdout.strip()) == (0, asked.strip())
    assert run("caption", data / "1.png", "-m", 4, *common).exit_code == 0
    assert run("chat", "-m", 4, *common, input="hello\n").exit_code == 0


def test_fusing_writes_a_model_that_draws_the_same(run: Run, tiny: Path, data: Path) -> None:
    assert run("finetune", data, "--model", tiny, "-o", "out", *QUICK).exit_code == 0
    result = run("fuse", "--model", tiny, "--adapter", "out", "-o", "fused")
    assert (result.exit_code, result.stdout) == (0, "fused\n")
    ids = [4, 70, 900, 3]
    np.testing.assert_allclose(
        np.array(load("fused", dtype="float32").logits(ids)),
        np.array(load(tiny, dtype="float32", adapter="out").logits(ids)),
        atol=2e-4,
    )


def test_missing_captions_are_written_by_the_model(run: Run, tiny: Path, data: Path) -> None:
    (data / "2.txt").unlink()
    command = ("finetune", data, "--model", tiny, "-o", "out", *QUICK)
    result = run(*command)
    assert result.exit_code == 1
    assert "2.png: it has no 2.txt" in result.stderr
    result = run(*command, "--captions", "auto")
    assert result.exit_code == 0, result.stderr
    written = (data / "2.txt").read_text().strip()
    assert written == load(tiny).caption(data / "2.png")


def test_events_come_as_json(run: Run, tiny: Path, data: Path) -> None:
    result = run("finetune", data, "--model", tiny, "-o", "out", *QUICK, "--json", "--quiet")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["event"] for row in rows] == ["step", "step", "step", "save"]
    assert rows[0]["loss"] > 0
    assert result.stderr == ""


def test_all_problems_of_the_data_are_listed_before_anything_starts(
    run: Run, tiny: Path, data: Path
) -> None:
    (data / "1.png").write_bytes(b"damaged")
    wrong = lines(Path("talk.jsonl"), {"messages": []}, "{", {"text": "good"})
    result = run("finetune", data, wrong, "--model", tiny, "-o", "out", *QUICK)
    assert result.exit_code == 1
    assert "talk.jsonl, line 1" in result.stderr
    assert "talk.jsonl, line 2" in result.stderr
    assert "2 problems: nothing was trained" in result.stderr
    assert not Path("out").exists()
    result = run("finetune", data, "--model", tiny, "-o", "out", *QUICK)
    assert "1.png is not a picture" in result.stderr
    assert not Path("out").exists()


def test_resuming_gives_the_weights_of_a_run_that_was_not_stopped(
    run: Run, tiny: Path, data: Path
) -> None:
    command = ("finetune", data, "--model", tiny, *QUICK, "--save-every", 1)
    assert run(*command, "-o", "whole").exit_code == 0
    weights = [np.array(a) for a in mx.load("whole/adapters.safetensors").values()]
    with subprocess.Popen(
        [LIQUID, *map(str, command), "-o", "part", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130), said
    if process.returncode == 130:
        assert "go on with --resume" in said
    result = run(*command, "-o", "part", "--resume")
    assert result.exit_code == 0, result.stderr
    for ours, theirs in zip(weights, mx.load("part/adapters.safetensors").values(), strict=True):
        np.testing.assert_array_equal(ours, np.array(theirs))
    log = Path("part/log.jsonl").read_text()
    steps = [json.loads(line).get("step") for line in log.splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_an_adapter_that_opens(
    run: Run, tiny: Path, data: Path
) -> None:
    command = [LIQUID, "finetune", data, "--model", tiny, "-o", "out", "--iters", 2000]
    command += ["--save-every", 1, "--batch-size", 1, "--val-split", 0, "-q", "--json"]
    rng, last = random.Random(0), 0
    for i in range(10):
        resume = ["--resume"] if Path("out/checkpoint.safetensors").exists() else []
        with subprocess.Popen(
            [str(part) for part in (*command, *resume)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(2):  # a step and its save
                assert process.stdout.readline(), "it ended by itself"
            time.sleep(rng.random() * 0.2)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        adapter = load(tiny, adapter="out")
        assert adapter.logits([3, 5]).shape[0] == 2
        step = json.loads(mx.load("out/checkpoint.safetensors", return_metadata=True)[1]["liquid"])
        assert step["step"] > last, i
        last = step["step"]


WRONG = """
finetune
finetune data --iters 0
finetune data --iters many
finetune data --epochs 0
finetune data --epochs -1
finetune data --batch-size 0
finetune data --grad-accum 0
finetune data --lr 0
finetune data --lr fast
finetune data --lr nan
finetune data --schedule steep
finetune data --warmup 2
finetune data --optimizer adam99
finetune data --weight-decay -1
finetune data --max-grad-norm -1
finetune data --rank 0
finetune data --rank 100000
finetune data --scale 0
finetune data --scale inf
finetune data --dropout 1
finetune data --layers 0
finetune data --layers 400
finetune data --dora --embeddings
finetune data --full --dora
finetune data --full --dropout 0.1
finetune data --max-seq-length 2
finetune data --t2i-ratio 2
finetune data --unconditional -0.1
finetune data --instructions 0
finetune data --instructions 11
finetune data --captions manual
finetune data --val-split 1
finetune data --val-split -0.5
finetune data --eval-every -1
finetune data --save-every x
finetune data --preview-every -2
finetune data --seed -1
finetune data --resume
finetune data -o taken
finetune data -o data/0.png
finetune data --dtype float8
finetune data:0
finetune data:nan
finetune missing
finetune data/0.png
finetune data --model missing
finetune data --max-seq-length 20
finetune data --preview
fuse
fuse -o fused
fuse --adapter taken
fuse --adapter missing -o fused
fuse --adapter taken -o fused
fuse --adapter taken=much -o fused
fuse --adapter taken -o data
generate x --adapter missing
generate x --adapter taken
ask data/0.png what? --adapter empty
caption data/0.png --adapter broken
chat --adapter taken=x
""".strip().splitlines()


@pytest.mark.parametrize("line", WRONG)
def test_bad_command_lines_end_in_a_sentence(run: Run, tiny: Path, data: Path, line: str) -> None:
    for name in ("taken", "empty", "broken"):
        Path(name).mkdir()
    Path("taken/adapters.safetensors").write_bytes(b"nonsense")
    Path("taken/adapter_config.json").write_text('{"fine_tune_type": "lora"}')
    Path("broken/adapter_config.json").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    model = () if "--model" in line else ("--model", tiny)
    result = run(*line.split(), *model)
    assert result.exit_code in (1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    sentences = [row for row in result.stderr.splitlines() if row.startswith("liquid: ")]
    if result.exit_code == 1:
        assert sentences[-1].endswith("."), result.stderr
        assert len(sentences[-1]) < 400
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert all(before.get(path) == at for path, at in after.items() if "cache" not in path.parts)


def test_data_that_do_not_fit_the_context_are_told(run: Run, tiny: Path, data: Path) -> None:
    (data / "3.txt").write_text("long " * 3000)
    result = run("finetune", data, "--model", tiny, "-o", "out", *QUICK)
    assert result.exit_code == 1
    assert "3.png: it has" in result.stderr
    assert "2048 are the most" in result.stderr


def test_a_step_that_does_not_fit_is_refused_with_numbers_and_a_way_out(
    run: Run, tiny: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liquid_mlx.memory.available", lambda: 25_000_000)
    monkeypatch.setattr("liquid_mlx.tuner.memory.available", lambda: 25_000_000)
    command = ("finetune", data, "--model", tiny, "-o", "out", *QUICK, "--batch-size", 64)
    result = run(*command)
    assert result.exit_code == 1
    assert "activations" in result.stderr
    assert "smaller --batch-size" in result.stderr
    assert not Path("out").exists()


def test_a_dry_run_checks_and_writes_nothing(run: Run, tiny: Path, data: Path) -> None:
    result = run("finetune", data, "--model", tiny, "-o", "out", "--epochs", 3, "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "(3.0 epochs)" in result.stderr
    assert not Path("out").exists()


def test_a_whole_small_model_can_be_trained(run: Run, tiny: Path, data: Path) -> None:
    command = ("finetune", data, "--model", tiny, "-o", "out", *QUICK)
    assert run(*command, "--full", "--layers", -1, "--embeddings").exit_code == 0
    weights = mx.load("out/adapters.safetensors")
    assert set(weights) == set(mx.load(str(tiny / "model.safetensors")))
    assert not list(Path("out").glob("0*_adapters.safetensors"))
    result = run("generate", "x", "--model", tiny, "--adapter", "out", "-o", "a.png")
    assert result.exit_code == 0, result.stderr


def test_a_quantized_model_is_not_trained_in_full(
    run: Run, converted: Callable[..., Path], tiny: Path, data: Path
) -> None:
    base = converted("llama_tiny", quantize=True, q_group_size=32)
    result = run("finetune", data, "--model", base, "-o", "out", *QUICK, "--full")
    assert result.exit_code in (1, 2)
    assert "quantized model is not trained in full" in result.stderr
