"""The command before and beside its work: Ctrl-C at any moment, other signals."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liquid_mlx.cli import entry
from tests.cli.conftest import LIQUID
from tests.conftest import heed_interrupts
from tests.convert.conftest import copy_checkpoint

LIGHT = ("typer", "rich", "mlx", "numpy", "PIL", "liquid_mlx.cli.main")


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [LIQUID, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )


def test_nothing_heavy_is_loaded_before_ctrl_c_is_heeded() -> None:
    code = "import sys, liquid_mlx.cli.entry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(LIGHT) & set(done.stdout.split())


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_modules_load_ends_quietly(twice: bool, tmp_path: Path) -> None:
    code = (
        "import signal, sys, os\n"
        "from liquid_mlx.cli import entry\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        f"            for _ in range({1 + twice}): os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "entry.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=heed_interrupts
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_at_any_moment_of_a_conversion(times: int, tmp_path: Path) -> None:
    source = copy_checkpoint("llama_tiny", tmp_path / "source")
    arguments = ["convert", "--hf-path", source, "--mlx-path", "out", "--quiet"]
    began = time.monotonic()
    assert start(*arguments).communicate() == ("", "")
    seconds = time.monotonic() - began
    chance = random.Random(times)
    for _ in range(12):
        subprocess.run(["rm", "-r", "out"], check=False, capture_output=True)
        process = start(*arguments)
        time.sleep(chance.uniform(0.1 * seconds, seconds))  # not before Python itself is there
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.003)
        out, errors = process.communicate()
        assert (process.returncode, out, errors) in ((130, "", ""), (0, "", ""))
        assert Path("out").exists() == (process.returncode == 0)
        assert {path.name for path in tmp_path.iterdir()} <= {"source", "out"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_clean_up_too(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from liquid_mlx.cli import entry, main\n"
        "from liquid_mlx.files import atomic_file\n"
        "def run():\n"
        "    with atomic_file(Path('out')) as tmp:\n"
        "        tmp.write_text('half')\n"
        f"        for _ in range(3): os.kill(os.getpid(), {int(number)})\n"
        "main.main = run\n"
        "entry.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


def test_signals_that_the_caller_has_ignored_stay_ignored() -> None:
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from liquid_mlx.cli import entry\n"
        "entry._on(signal.SIGINT, entry._leave)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_second_ctrl_c_is_heeded_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 10.3, 10.9, 12.0])
    monkeypatch.setattr(entry.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(entry, "_last", -1.0)
    with pytest.raises(KeyboardInterrupt):
        entry._interrupt(2, None)
    entry._interrupt(2, None)
    entry._interrupt(2, None)
    with pytest.raises(KeyboardInterrupt):
        entry._interrupt(2, None)


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "liquid_mlx.cli", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("liquid-mlx ")
    assert os.path.basename(LIQUID) == "liquid"
