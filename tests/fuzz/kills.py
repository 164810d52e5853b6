"""``kill -9`` at random moments: nothing half-written has a final name, all is taken up again."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from liquid_mlx.config import LiquidConfig
from liquid_mlx.images import read_settings
from liquid_mlx.weights import load_backbone, load_vqgan

COMMAND = [sys.executable, "-m", "liquid_mlx.cli"]
QUESTIONS = 40


@dataclass(frozen=True)
class Job:
    """A command that writes files into a folder, and what those must be, however it ended."""

    argv: list[str]
    check: Callable[[Path], None]
    whole: Callable[[Path], bool]


def jobs(world: Path, folder: Path) -> dict[str, Job]:
    """The commands that write, by name; ``folder`` gets the files that they read."""
    model = str(world / "model")
    Image.new("RGB", (9, 7), "red").save(folder / "in.png")
    questions = [
        {"question_id": i, "image": "in.png", "text": f"What is {i}?"} for i in range(QUESTIONS)
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    source = ["--hf-path", str(world / "source")]
    drawing = ["generate", "x", "-o", "out/{seed}.png", "--overwrite", "--batch-size", "1"]
    drawing += ["--metadata", "--model", model]
    asked = ["--questions", "q.jsonl", "--answers", "out/a.jsonl", "--image-folder", "."]
    return {
        "convert": Job(["convert", *source, "--mlx-path", "out/m"], _model, _converted),
        "generate": Job([*drawing, "--seed", "1", "--count", "6"], _drawn, _all_drawn),
        "ask": Job(["ask", *asked, "-m", "4", "--model", model], _lines, _answered),
    }


def _model(out: Path) -> None:
    for folder in visible(out):
        config = LiquidConfig.read(folder)
        load_backbone(folder, config)
        load_vqgan(folder, config)


def _converted(out: Path) -> bool:
    return (out / "m" / "config.json").is_file()


def _drawn(out: Path) -> None:
    for path in visible(out):
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
            assert str(read_settings(path)["seed"]) == path.stem
        else:
            assert json.loads(path.read_text())["prompt"] == "x"


def _all_drawn(out: Path) -> bool:
    return len(list(out.glob("*.png"))) == len(list(out.glob("*.json"))) == 6


def _answers(out: Path) -> list[int]:
    path = out / "a.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["question_id"] for line in lines]


def _lines(out: Path) -> None:
    """Whole lines, each question once; the last line may be cut where the process was killed."""
    found = _answers(out)
    assert found == list(range(len(found)))


def _answered(out: Path) -> bool:
    return _answers(out) == list(range(QUESTIONS))


def visible(out: Path) -> list[Path]:
    return [path for path in out.iterdir() if not path.name.startswith(".liquid-mlx-")]


def kill(world: Path, name: str, seed: int) -> bool:
    """Kill a command once, run it again to its end; whether it was killed before that."""
    folder = world / f"kill-{name}-{seed}"
    (folder / "out").mkdir(parents=True)
    try:
        job = jobs(world, folder)[name]
        process = _start(job, folder)
        time.sleep(random.Random(seed).uniform(0, _seconds(world, name, job)))
        process.kill()
        killed = process.wait() != 0
        job.check(folder / "out")
        if not job.whole(folder / "out"):
            again = _start(job, folder)
            errors = again.communicate()[1].decode()
            assert again.returncode == 0, errors
            job.check(folder / "out")
            assert len(visible(folder / "out")) == len(list((folder / "out").iterdir()))
        assert job.whole(folder / "out")
        return killed
    finally:
        shutil.rmtree(folder)


_took: dict[str, float] = {}


def _seconds(world: Path, name: str, job: Job) -> float:
    """How long the command takes undisturbed; measured once."""
    if name not in _took:
        folder = world / f"whole-{name}"
        (folder / "out").mkdir(parents=True)
        jobs(world, folder)
        began = time.monotonic()
        process = _start(job, folder)
        errors = process.communicate()[1].decode()
        assert process.returncode == 0, errors
        _took[name] = time.monotonic() - began
        shutil.rmtree(folder)
    return _took[name]


def _start(job: Job, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *job.argv], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def main(world: Path, seed: int, count: int) -> int:
    """Kill ``count`` times, command by command; the exit code."""
    names = list(jobs(world, world))
    killed = sum(kill(world, names[i % len(names)], seed * 1000 + i) for i in range(count))
    print(f"{killed} of {count} were killed before their end; nothing was half-written")
    return 0
