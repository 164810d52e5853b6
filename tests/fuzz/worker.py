"""Runs cases inside this process, and looks at what came out: the limits of the fuzz.

``python -m tests.fuzz.worker WORLD SEED START STOP [SURFACE]`` prints a line before each case and
one after it, so that whoever started it knows which case killed or hung it.
"""

from __future__ import annotations

import functools
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from starlette.testclient import TestClient
from typer.testing import CliRunner

from liquid_mlx import model
from liquid_mlx.cli.main import app
from tests.fuzz import bodies
from tests.fuzz.surfaces import SURFACES, Case, World

SECONDS, BYTES, CHARACTERS = 20, 2_000_000_000, 600
RLIMIT = 12_000_000_000  # of address space, so that a bomb kills this process and not the machine
EXIT_CODES = (0, 1, 2, 3)
STATUS = (200, 400, 403, 404, 405, 408, 413, 415, 429, 503)
DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def make(world: World, seed: int, index: int, surface: str = "") -> tuple[str, Case]:
    """Case ``index`` of a seed, its files written to the current folder."""
    chance = random.Random(f"{seed}-{index}")
    weights = [weight for _, weight in SURFACES.values()]
    drawn = chance.choices(list(SURFACES), weights)[0]
    return surface or drawn, SURFACES[surface or drawn][0](world, chance)


def run(case: Case, client: Callable[[], TestClient]) -> tuple[int, str]:
    """Run a case; its exit code, and what is wrong with how it ended or nothing."""
    _reset_peak()
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, problem = _request(case, client()) if case.request else _command(case)
    if time.process_time() - began > SECONDS:
        return code, f"took {time.process_time() - began:.0f} s"
    if (peak := _peak()) > BYTES:
        return code, f"took {peak / 1e9:.1f} GB"
    return code, problem or _left()


def _command(case: Case) -> tuple[int, str]:
    done = CliRunner().invoke(app, case.argv, input=case.stdin, prog_name="liquid")
    if done.exception and not isinstance(done.exception, SystemExit):
        return done.exit_code, "".join(traceback.format_exception(done.exception))
    return done.exit_code, judge(done.exit_code, done.stdout, done.stderr)


def _request(case: Case, client: TestClient) -> tuple[int, str]:
    try:
        answer = bodies.send(client, case.argv, case.stdin)
        if answer.status_code not in STATUS:
            return 1, f"status {answer.status_code}: {answer.text[:500]}"
        if answer.status_code == 200:
            return 0, "Traceback" if "Traceback" in answer.text else ""
        message = answer.json()["error"]["message"]
    except Exception:
        return 1, traceback.format_exc()
    if not message.isprintable():
        return 1, f"control characters in {message!r}"
    return 1, f"a sentence of {len(message)} characters" if len(message) > CHARACTERS else ""


def judge(code: int, stdout: str, stderr: str) -> str:
    """What is wrong with an exit code and what was said."""
    if code not in EXIT_CODES:
        return f"exit code {code}: {stderr[-500:]}"
    if "Traceback" in stdout + stderr:
        return stderr[-3000:]
    if bad := sorted({c for c in stdout + stderr if _controls(c)}):
        return f"control characters {bad}"
    lines = stderr.splitlines()
    if any(len(line) > CHARACTERS for line in lines):
        return f"a sentence of {max(map(len, lines))} characters"
    start = {1: "liquid: ", 2: "Error: ", 3: "liquid: "}.get(code, "")
    if code and not any(line.startswith(start) for line in lines):
        return f"exit code {code} and no sentence: {stderr[-500:]!r}"
    return ""


def _controls(character: str) -> bool:
    kind = unicodedata.category(character)
    return (kind in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t") or character in DIRECTION


def _left() -> str:
    left = [str(path) for path in Path().rglob(".liquid-mlx-*")]
    return f"left {left}" if left else ""


def _reset_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory since the last reset; elsewhere than on Linux since the start."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def own_folder() -> Iterator[None]:
    """A new current folder, deleted afterwards."""
    before = Path.cwd()
    folder = tempfile.mkdtemp(prefix="fuzz-")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def keep_model(world: World) -> None:
    """Load the model that is not what a case damages once for all cases."""
    load, kept = model.load, functools.cache(model.load)

    def loaded(name: str | Path, **options: object) -> model.Liquid:
        same = str(name) == str(world.model) and not options.get("adapter")
        return (kept if same else load)(name, **options)

    model.load = loaded


def main() -> None:
    world = World.of(Path(sys.argv[1]))
    seed, start, stop = map(int, sys.argv[2:5])
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (RLIMIT, RLIMIT))
    os.environ |= {"HF_HUB_OFFLINE": "1", "LIQUID_CONFIG": "config.toml"}
    os.environ["XDG_CACHE_HOME"] = str(world.model.parent / "cache")
    os.environ.pop("LIQUID_MODEL", None)
    keep_model(world)
    said = os.fdopen(os.dup(1), "w")
    with ExitStack() as stack:
        client = functools.cache(lambda: stack.enter_context(bodies.server(world.model)))
        for index in range(start, stop):
            with own_folder():
                surface, case = make(world, seed, index, "".join(sys.argv[5:6]))
                print(json.dumps({"case": index, "surface": surface, "argv": case.argv}), file=said)
                said.flush()
                code, problem = run(case, client)
                line = {"done": index, "code": code, "problem": problem}
                print(json.dumps(line), file=said, flush=True)


if __name__ == "__main__":
    main()
