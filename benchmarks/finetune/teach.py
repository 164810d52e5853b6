"""The bundled model learns what it does not know, by the commands that anyone would type.

``teach``  what it knows of the lessons before and after, and of what it knew.
``bits``   the same lessons, learned by the model in float32 and in 4 bits, and the latter fused
           and quantized again.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import liquid_mlx
from benchmarks.finetune import lessons
from liquid_mlx.convert import convert
from liquid_mlx.hub import resolve
from liquid_mlx.tuner.fuse import fuse
from training.evaluate import measure_pairs, measure_prompts, measure_questions

RECIPE = (
    *("--iters", "1000", "--batch-size", "8", "--lr", "4e-4", "--warmup", "0.1"),
    *("--rank", "16", "--scale", "10", "--layers", "-1"),
    # Captions of what it knows are prompts as people type them, which it never writes. And what
    # guidance subtracts must learn of houses as much as what it adds to.
    *("--t2i-ratio", "1", "--unconditional", "0.3", "--instructions", "1"),
    *("--val-split", "0", "--preview-every", "200"),
    *("--preview", "a red house", "--preview", "a blue house"),
    *("--preview", "a zorn star", "--preview", "a zorn heart", "--preview", "a green circle"),
)


def _pairs(liquid: Any, _share: float) -> list[bool]:
    return measure_pairs(liquid, 1).right


def _prompts(liquid: Any, share: float) -> list[bool]:
    return measure_prompts(liquid, share).right


def _questions(liquid: Any, share: float) -> list[bool]:
    return [
        right
        for off_grid in (False, True)
        for right in measure_questions(liquid, share, off_grid).right
    ]


TAUGHT = {
    "houses": lessons.houses_right,
    "zorn": lessons.zorn_right,
    "warm or cold": lessons.questions_right,
}
KNOWN = {"everyday prompts": _prompts, "pairs": _pairs, "everyday questions": _questions}


def examined(
    model: Path | str, adapter: Path | None, arguments: argparse.Namespace, known: bool = True
) -> dict[str, Any]:
    """Shares that are right: of what is taught and, if ``known``, of what was known before."""
    started = time.perf_counter()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        running = {
            part: pool.submit(_part, part, model, adapter, arguments.count, arguments.share)
            for part in (*(KNOWN if known else ()), *TAUGHT)
        }
        found = {part: future.result() for part, future in running.items()}
    scores = {
        name: f"{sum(right)} of {len(right)}, {100 * sum(right) / len(right):.1f} %"
        for name, right in found.items()
    }
    return {**scores, "examined_s": round(time.perf_counter() - started)}


def _part(
    part: str, model: Path | str, adapter: Path | None, count: int, share: float
) -> list[bool]:
    """Rights and wrongs of a part of the examination, in a process of its own."""
    liquid = liquid_mlx.load(model, adapter=adapter or ())
    return TAUGHT[part](liquid, count) if part in TAUGHT else KNOWN[part](liquid, share)


def write(model: str, work: Path, known: int) -> Path:
    """The lessons' files in ``work``, unless they are there."""
    if not (work / "known" / "answers.json").exists():
        lessons.write_pictures(work / "pictures")
        lessons.write_questions(work / "asked")
        lessons.write_known(work / "known", liquid_mlx.load(model), known)
    return work


def finetuned(model: str, data: Path, output: Path, more: str) -> float:
    """Run ``liquid finetune`` on the lessons, its progress on stderr; seconds."""
    command = [
        *(sys.executable, "-m", "liquid_mlx", "finetune"),
        *(f"{data / 'pictures'}:2", f"{data / 'asked' / 'questions.json'}:2"),
        *(str(data / "known"), f"{data / 'known' / 'answers.json'}:0.7"),
        *("--model", model, "-o", str(output), *RECIPE, *more.split()),
    ]
    print("$ liquid", *command[3:], file=sys.stderr, flush=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


@contextlib.contextmanager
def place(arguments: argparse.Namespace) -> Iterator[Path]:
    """The folder of a run: the one that was asked for, or one that is removed in the end."""
    with tempfile.TemporaryDirectory() as temporary:
        yield arguments.work or Path(temporary)


def write_lessons(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    started, work = time.perf_counter(), arguments.work or Path("lessons")
    write(arguments.model, work, arguments.known)
    yield {"lessons": str(work), "seconds": round(time.perf_counter() - started)}


def teach(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with place(arguments) as work:
        started = time.perf_counter()
        write(arguments.model, work, arguments.known)
        yield {"when": "lessons written", "seconds": round(time.perf_counter() - started)}
        yield {"when": "before", **examined(arguments.model, None, arguments)}
        seconds = finetuned(arguments.model, work, work / "adapter", arguments.more)
        yield {"when": "trained", "minutes": round(seconds / 60, 2)}
        yield {"when": "after", **examined(arguments.model, work / "adapter", arguments)}


def bits(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with place(arguments) as work:
        write(arguments.model, work, arguments.known)
        dense, packed, fused = (work / name for name in ("float32", "4-bits", "fused"))
        convert(resolve(arguments.model), dense, dequantize=True, dtype="float32")
        convert(dense, packed, quantize=True, q_bits=4)
        for model in (dense, packed):
            adapter = work / f"adapter-{model.name}"
            finetuned(str(model), work, adapter, arguments.more)
            row = examined(model, adapter, arguments, known=False)
            yield {"model": model.name, **row}
        fuse(packed, adapter, fused)
        row = examined(fused, None, arguments, known=False)
        yield {"model": "4-bits, fused and quantized again", **row}
