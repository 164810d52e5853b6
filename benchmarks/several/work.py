"""Shared work, compared and interrupted: ``python -m benchmarks.several.work``.

Prompts and questions for the bundled model (or ``--model``), on 1, 2, 3 and 4 processes of
this machine: every image and the file of answers must be the same, byte for byte. Then a process of
a run is killed at a random moment, the run is resumed with another number of processes, and the
result must again be the same: nothing lost, nothing twice.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.loops.side_by_side import machine
from tests.distributed.launch import LIQUID, ended, liquid, started

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
    """What a run has written, by name."""
    files = [*sorted((folder / out).glob("*.png")), folder / f"{out}.jsonl"]
    return [(file.name if file.suffix == ".png" else "", file.read_bytes()) for file in files]


def kill_one(folder: Path, command: Sequence[str], after: float, which: int) -> None:
    """Start two processes, and kill one after some seconds; the launcher would end the other."""
    with started([[*LIQUID, *command]] * 2, folder) as processes:
        time.sleep(after)
        processes[which].kill()
        try:
            ended(processes, 60)
        except subprocess.TimeoutExpired:
            sys.exit("a process did not end after the other was killed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    moments = random.Random(0)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder, options.prompts, options.questions)
        seen, seconds = [], {}
        for size in options.ranks:
            start = time.perf_counter()
            for command in (draw(options.model, f"r{size}"), ask(options.model, f"r{size}")):
                for rank in liquid(size, *command, folder=folder):
                    assert rank.code == 0, rank
            seconds[size] = time.perf_counter() - start
            seen.append(content(folder, f"r{size}"))
            same = sum(one == other for one, other in zip(seen[0], seen[-1], strict=True))
            print(
                f"{size} processes: {seconds[size]:.1f} s, {same} of {len(seen[0])} files the same"
            )
        for i in range(options.kills):
            command = (draw, ask)[i % 2](options.model, f"k{i}")
            after = moments.uniform(0.3, seconds.get(2, 10.0))
            kill_one(folder, command, after, i // 2 % 2)
            kept = len(list((folder / f"k{i}").glob("*.png")))
            kept += sum(f.read_bytes().count(b"\n") for f in folder.glob(f"k{i}.jsonl*"))
            for rank in liquid(1 + i % 3, *command, folder=folder):
                assert rank.code == 0, rank
            if i % 2:
                shutil.copytree(folder / "r1", folder / f"k{i}")
            else:
                shutil.copy(folder / "r1.jsonl", folder / f"k{i}.jsonl")
            good = "the same" if content(folder, f"k{i}") == seen[0] else "DIFFERENT"
            print(f"{command[0]}, killed after {after:.1f} s with {kept} done, resumed: {good}")


if __name__ == "__main__":
    main()
