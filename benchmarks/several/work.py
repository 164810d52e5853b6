"""Shared work, compared and interrupted: ``python -m benchmarks.several.work``.

Prompts and questions for a tiny model (or ``--model``), on 1, 2, 3 and 4 processes of this
machine: every image and the file of answers must be the same, byte for byte. Then a process of
a run is killed at a random moment, the run is resumed with another number of processes, and the
result must again be the same: nothing lost, nothing twice.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.loops.side_by_side import machine
from liquid_mlx.convert import convert
from liquid_mlx.files import read_json
from tests.distributed.launch import LIQUID, ROOT, ended, liquid, started

COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "ring")


def inputs(folder: Path, prompts: int, questions: int) -> None:
    """Files of prompts and questions, five questions about each picture."""
    texts = [f"a {COLOURS[i % 8]} {SHAPES[i // 8 % 5]}" for i in range(prompts)]
    (folder / "prompts.txt").write_text("\n".join(texts))
    lines = []
    for i in range(questions):
        name = f"{i // 5}.png"
        if i % 5 == 0:
            Image.new("RGB", (64, 64), (i % 256, i // 2 % 256, 99)).save(folder / name)
        text = ("What colour is it?", "What is it?", "Is it red?", "Is it big?", "Where is it?")
        question = {"question_id": i, "image": name, "text": text[i % 5]}
        lines.append(json.dumps(question) + "\n")
    (folder / "questions.jsonl").write_text("".join(lines))


def draw(model: str, out: str) -> list[str]:
    files = ["--prompt-file", "prompts.txt", "-o", f"{out}/{{index}}.png"]
    return ["generate", *files, "--model", model, "--seed", "7", "--skip-existing", "--quiet"]


def ask(model: str, out: str) -> list[str]:
    files = ["--questions", "questions.jsonl", "--answers", f"{out}.jsonl"]
    return ["ask", *files, "--model", model, "-m", "8", "--quiet"]


def content(folder: Path, out: str) -> list[tuple[str, bytes]]:
    """What a run has written: images with their names, and at the end its answers."""
    found = [(file.name, file.read_bytes()) for file in sorted((folder / out).glob("*.png"))]
    answers = folder / f"{out}.jsonl"
    return [*found, ("", answers.read_bytes() if answers.exists() else b"")]


def kill_one(folder: Path, command: Sequence[str], after: float, which: int) -> None:
    """Start two processes, and kill one after some seconds; the launcher would end the other."""
    with started([[*LIQUID, *command]] * 2, folder) as processes:
        time.sleep(after)
        processes[which].kill()
        try:
            ended(processes, 600)
        except subprocess.TimeoutExpired:
            sys.exit("a process did not end after the other was killed")


def golden(case: str, folder: Path) -> Path:
    """A model of the tests, with random weights, whose images take milliseconds."""
    cases = ROOT / "tests" / "data" / "golden"
    vqgan = cases / read_json(cases / case / "case.json")["vq"] / "chameleon"
    convert(cases / case, folder / case, vqgan=vqgan)
    return folder / case


def whole(folder: Path, model: str, sizes: Sequence[int]) -> float:
    """All work with each number of processes; seconds of a command with the last of them."""
    first: list[tuple[str, bytes]] = []
    for size in sizes:
        start = time.perf_counter()
        for command in (draw(model, f"r{size}"), ask(model, f"r{size}")):
            for rank in liquid(size, *command, folder=folder, seconds=3600):
                assert rank.code == 0, rank
        seconds = time.perf_counter() - start
        found = content(folder, f"r{size}")
        first = first or found
        same = sum(one == other for one, other in zip(first, found, strict=True))
        lines = found[-1][1].count(b"\n")
        print(
            f"{size} processes: {seconds:.1f} s; {len(found) - 1} images and {lines} answers; "
            f"{same} of {len(first)} files as with {sizes[0]}",
            flush=True,
        )
    return seconds / 2


def killed(folder: Path, model: str, number: int, after: float) -> None:
    """Kill a process after some seconds, go on with 1 to 3 processes, and compare."""
    out = f"k{number}"
    command = (draw, ask)[number % 2](model, out)
    kill_one(folder, command, after, number // 2 % 2)
    kept = len(list((folder / out).glob("*.png")))
    parts = {line for file in folder.glob(f"{out}.jsonl*") for line in whole_lines(file)}
    for rank in liquid(1 + number % 3, *command, folder=folder, seconds=3600):
        assert rank.code == 0, rank
    if number % 2:
        good = (folder / f"{out}.jsonl").read_bytes() == (folder / "r1.jsonl").read_bytes()
        left = len(list(folder.glob(f"{out}.jsonl.rank-*")))
        good = good and not left
    else:
        good = content(folder, out)[:-1] == content(folder, "r1")[:-1]
    print(
        f"{command[0]}: rank {number // 2 % 2} killed after {after:.1f} s with "
        f"{kept or len(parts)} done; gone on with {1 + number % 3}: "
        f"{'the same' if good else 'DIFFERENT'}",
        flush=True,
    )
    assert good


def whole_lines(file: Path) -> list[bytes]:
    data = file.read_bytes()
    return data[: data.rfind(b"\n") + 1].splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: a tiny one of the tests")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder, options.prompts, options.questions)
        model = options.model or str(golden("llama_tiny", folder))
        seconds = whole(folder, model, options.ranks)
        for number in range(options.kills):
            killed(folder, model, number, moments.uniform(0.3, seconds))


if __name__ == "__main__":
    main()
