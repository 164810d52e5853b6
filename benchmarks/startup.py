"""CPU seconds until something happens: ``python -m benchmarks.startup``. Medians of five."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.loops.side_by_side import machine

BIN = Path(sys.executable).parent
FIRST_STEP = """
import os, sys
from liquid_mlx.generation import image
made = image.CodesStep.__init__
def first(self, *arguments):
    sys.stdout.flush()
    os._exit(0)
image.CodesStep.__init__ = first
sys.argv = ["liquid", *sys.argv[1:]]
from liquid_mlx.cli.main import main
main()
"""


def cpu_seconds(*command: str) -> float:
    """User and system time of a command, its children's too."""
    before = os.times()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, **quiet)
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "demo"
    picture = Path(tempfile.mkdtemp()) / "picture.png"
    generate = ("generate", "a red circle", "--model", model, "-o", str(picture))
    commands = {
        "liquid --help": (str(BIN / "liquid"), "--help"),
        "mlx_lm generate --help": (sys.executable, "-m", "mlx_lm", "generate", "--help"),
        "liquid generate, to its first step": (sys.executable, "-c", FIRST_STEP, *generate),
        "python -c 'import mlx_lm'": (sys.executable, "-c", "import mlx_lm"),
    }
    for command in commands.values():
        cpu_seconds(*command)
    print(f"{machine()}\n\n| command | CPU s |\n|---|---|")
    for name, command in commands.items():
        seconds = statistics.median(cpu_seconds(*command) for _ in range(5))
        print(f"| {name} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
