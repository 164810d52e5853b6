"""``kill -9`` at random moments: nothing half-written has a final name, all is taken up again."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from liquid_mlx.adapters import CONFIG, WEIGHTS, read_adapter
from liquid_mlx.config import LiquidConfig
from liquid_mlx.images import read_settings
from liquid_mlx.tuner.checkpoint import STATE
from liquid_mlx.tuner.checkpoint import read as read_state
from liquid_mlx.weights import load_backbone, load_vqgan

COMMAND = [sys.executable, "-m", "liquid_mlx.cli"]
QUESTIONS, PICTURES, STEPS = 40, 6, 8


@dataclass(frozen=True)
class Job:
    """A command that writes files into a folder, and what those must be, however it ended.

    Attributes:
        check: raises unless every file with a final name is whole.
        whole: whether the command did all that it was to do.
        again: how it is taken up again; None is the same command.
    """

    argv: list[str]
    check: Callable[[Path], None]
    whole: Callable[[Path], bool]
    again: Callable[[Path], list[str]] | None = None


def jobs(world: Path, folder: Path) -> dict[str, Job]:
    """The commands that write, by name; ``folder`` gets the files that they read."""
    model = str(world / "model")
    Image.new("RGB", (9, 7), "red").save(folder / "in.png")
    questions = [
        {"question_id": i, "image": "in.png", "text": f"What is {i}?"} for i in range(QUESTIONS)
    ]
    _lines_of(folder / "q.jsonl", questions)
    _lines_of(folder / "n.jsonl", [{"question_id": i, "answer": "x"} for i in range(QUESTIONS)])
    _lines_of(folder / "d.jsonl", [{"text": f"this is {i} of them"} for i in range(8)])
    (folder / "p.txt").write_text("".join(f"{i} circles\n" for i in range(PICTURES)))
    source = ["--hf-path", str(world / "source")]
    drawing = ["generate", "x", "-o", "out/{seed}.png", "--overwrite", "--batch-size", "1"]
    drawing += ["--metadata", "--model", model]
    asked = ["--questions", "q.jsonl", "--answers", "out/a.jsonl"]
    scored = ["evaluate", "custom", *asked, "--annotations", "n.jsonl", "--images", "."]
    tuned = ["finetune", "d.jsonl", "-o", "out/ad", "--iters", str(STEPS), "--save-every", "1"]
    tuned += ["--val-split", "0", "--batch-size", "2", "--rank", "2", "--model", model]
    drawn = ["evaluate", "draw", "custom", "--prompts", "p.txt", "--pictures", "out/set"]
    return {
        "convert": Job(["convert", *source, "--mlx-path", "out/m"], _model, _converted),
        "generate": Job([*drawing, "--seed", "1", "--count", "6"], _drawn, _all_drawn),
        "ask": Job(
            ["ask", *asked, "--image-folder", ".", "-m", "4", "--model", model], _lines, _answered
        ),
        "finetune": Job(tuned, _adapter, _tuned, lambda out: [*tuned, *_resumed(out)]),
        "evaluate": Job(
            [*scored, "-m", "4", "--model", model, "--report", "out/r.json"], _report, _reported
        ),
        "draw": Job([*drawn, "--batch-size", "1", "--model", model], _set, _whole_set),
    }


def _lines_of(path: Path, values: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def _model(out: Path) -> None:
    for folder in visible(out):
        config = LiquidConfig.read(folder)
        load_backbone(folder, config)
        load_vqgan(folder, config)


def _converted(out: Path) -> bool:
    return (out / "m" / "config.json").is_file()


def _picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _drawn(out: Path) -> None:
    for path in visible(out):
        if path.suffix == ".png":
            _picture(path)
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


def _report(out: Path) -> None:
    _lines(out)
    if (out / "r.json").exists():
        assert json.loads((out / "r.json").read_text())["task"] == "custom"


def _reported(out: Path) -> bool:
    return _answered(out) and (out / "r.json").exists()


def _adapter(out: Path) -> None:
    """Whatever has its name opens, and where there are weights there is all that they need."""
    folder = out / "ad"
    if (folder / STATE).exists():
        assert 1 <= read_state(folder).step <= STEPS
    if (folder / WEIGHTS).exists():
        read_adapter(folder)
        assert (folder / STATE).exists()
    for path in visible(folder) if folder.is_dir() else ():
        if path.suffix == ".png":
            _picture(path)


def _resumed(out: Path) -> list[str]:
    return ["--resume"] if (out / "ad" / STATE).exists() else []


def _tuned(out: Path) -> bool:
    config = out / "ad" / CONFIG
    done = config.exists() and json.loads(config.read_text())["liquid"]["step"] == STEPS
    return done and (out / "ad" / WEIGHTS).exists() and (out / "ad" / "loss.png").exists()


def _set(out: Path) -> None:
    for path in out.rglob("*.png"):
        _picture(path)
    for path in visible(out):
        assert path.is_dir() or json.loads(path.read_text())["seed"] == 0


def _whole_set(out: Path) -> bool:
    return len(list(out.rglob("*.png"))) == PICTURES


def visible(out: Path) -> list[Path]:
    return [path for path in out.iterdir() if not path.name.startswith(".liquid-mlx-")]


def kill(world: Path, name: str, seed: int) -> bool:
    """Kill a command once, run it again to its end; whether it was killed before that."""
    if name == "serve":
        return kill_server(world, seed)
    folder = world / f"kill-{name}-{seed}"
    (folder / "out").mkdir(parents=True)
    try:
        job = jobs(world, folder)[name]
        process = _start(job.argv, folder)
        time.sleep(random.Random(seed).uniform(0, _seconds(world, name, job)))
        process.kill()
        killed = process.wait() != 0
        job.check(folder / "out")
        if not job.whole(folder / "out"):
            argv = job.again(folder / "out") if job.again else job.argv
            again = _start(argv, folder)
            errors = again.communicate()[1].decode()
            assert again.returncode == 0, errors
            job.check(folder / "out")
            left = [p for p in (folder / "out").rglob("*") if p.name.startswith(".liquid-mlx-")]
            assert not left
        assert job.whole(folder / "out")
        if name == "finetune":  # as if it had never been stopped
            assert (folder / "out" / "ad" / WEIGHTS).read_bytes() == _undisturbed[name]
        return killed
    finally:
        shutil.rmtree(folder)


def kill_server(world: Path, seed: int) -> bool:
    """Kill a server while it starts or draws; it leaves no files, and starts again."""
    folder = world / f"kill-serve-{seed}"
    folder.mkdir()
    chance = random.Random(seed)
    argv = ["serve", "--port", "0", "--model", str(world / "model")]
    try:
        process = _start(argv, folder)
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, 2))
        else:
            port = _port(process)
            asked = _ask(port)
            time.sleep(chance.uniform(0, 0.5))
            asked.close()
        process.kill()
        killed = process.wait() != 0
        assert not list(folder.iterdir())
        again = _start(argv, folder)
        connection = _ask(_port(again))
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.loads(answer.read())["data"]) == 2
        again.terminate()
        again.communicate()
        return killed
    finally:
        shutil.rmtree(folder)


def _port(process: subprocess.Popen[bytes]) -> int:
    """Where a server listens, which it says in its first line."""
    assert process.stderr is not None
    ready = select.select([process.stderr], [], [], 300)[0]
    line = process.stderr.readline().decode() if ready else ""
    found = re.search(r":(\d+) ", line)
    assert found, line
    return int(found[1])


def _ask(port: int) -> http.client.HTTPConnection:
    """A request for two pictures, sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = json.dumps({"prompt": "a red circle", "n": 2, "seed": 1})
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/images/generations", body, headers)
    return connection


_took: dict[str, float] = {}
_undisturbed: dict[str, bytes] = {}  # the weights that a job writes


def _seconds(world: Path, name: str, job: Job) -> float:
    """How long the command takes undisturbed; measured once."""
    if name not in _took:
        folder = world / f"whole-{name}"
        (folder / "out").mkdir(parents=True)
        jobs(world, folder)
        began = time.monotonic()
        process = _start(job.argv, folder)
        errors = process.communicate()[1].decode()
        assert process.returncode == 0, errors
        _took[name] = time.monotonic() - began
        with suppress(FileNotFoundError):
            _undisturbed[name] = (folder / "out" / "ad" / WEIGHTS).read_bytes()
        shutil.rmtree(folder)
    return _took[name]


def _start(argv: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *argv],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def main(world: Path, seed: int, count: int) -> int:
    """Kill ``count`` times, command by command; the exit code."""
    names = [*jobs(world, world), "serve"]
    killed = dict.fromkeys(names, 0)
    for i in range(count):
        name = names[i % len(names)]
        killed[name] += kill(world, name, seed * 1000 + i)
        print(f"{i + 1} of {count}: {name}", file=sys.stderr, flush=True)
    print(f"{sum(killed.values())} of {count} were killed before their end: {killed}")
    print("Nothing was half-written, and all was taken up again.")
    return 0
