"""The command as a whole: its cost, its help, its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import liquid_mlx
from liquid_mlx.cli.main import COMMANDS, load_command
from liquid_mlx.errors import LiquidError
from tests.cli.conftest import LIQUID, Run, liquid
from tests.conftest import heed_interrupts

HEAVY = ("mlx", "numpy", "PIL", "transformers", "mlx_lm", "tokenizers", "huggingface_hub", "rich")


def imported_by_help(*command: str) -> list[str]:
    """The modules that a help page loads, in a process of its own."""
    code = (
        "import sys\n"
        f"sys.argv = ['liquid', *{command!r}, '--help']\n"
        "from liquid_mlx.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: liquid" in done.stdout
    return done.stdout.splitlines()[-1].split()


def test_help_imports_no_command() -> None:
    modules = imported_by_help()
    assert not [name for name in modules if "cli.commands" in name]
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    assert not set(HEAVY) & set(imported_by_help(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_summary_of_a_command_begins_its_help(command: str) -> None:
    assert load_command(command).help.startswith(COMMANDS[command][1])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen(command: str, run: Run) -> None:
    help = run(command, "--help").stdout.splitlines()
    assert len(help) <= {"finetune": 70, "generate": 54}.get(command, 50)
    assert max(map(len, help)) <= 80


def test_drawing_loads_nothing_heavy_before_its_first_step(model: str) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['liquid', 'generate', 'a red circle', '-o', 'out.png']\n"
        "import liquid_mlx.generation.image as image\n"
        "def first(*arguments, **more):\n"
        "    print([name in sys.modules for name in ('transformers', 'mlx_lm', 'torch')])\n"
        "    raise SystemExit\n"
        "image.CodesStep = first\n"
        "from liquid_mlx.cli.main import main\n"
        "main()"
    )  # what it costs: python -m benchmarks.startup
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[False, False, False]\n"


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"liquid-mlx {liquid_mlx.__version__}\n"


def test_python_m_liquid_mlx_is_the_command(run: Run) -> None:
    command = [sys.executable, "-m", "liquid_mlx", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout


def test_no_arguments_show_the_help_and_are_a_wrong_command_line(run: Run) -> None:
    done = run()
    assert done.exit_code == 2
    assert "generate" in done.output


def test_an_error_is_one_sentence_on_stderr() -> None:
    done = liquid("generate", "a red circle", "-o", "out.jpg")
    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        done.stderr
        == "liquid: out.jpg: images are written as PNG; give a name that ends in .png.\n"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LiquidError("First line.\nSecond \x1b[31mline."), "First line. Second [31mline."),
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "out.png"), "out.png: No space left on device."),
    ],
)
def test_errors_from_below_have_no_traceback(
    error: Exception, words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("liquid_mlx.model.load", fail)
    done = run("chat")
    assert done.exit_code == 1
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert len(done.stderr.splitlines()) == 1


def test_mlx_without_a_backend_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise ImportError("libmlx.so: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(liquid_mlx, "load", load, raising=False)
    done = run("generate", "a red circle")
    assert done.exit_code == 1
    assert "mlx[cpu]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(photos: Path) -> None:
    done = subprocess.run(
        f"{LIQUID} ask photos 'What is this?' -m 2 --jsonl | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == "{"


def test_interrupted_it_stops_at_once_with_130(tmp_path: Path) -> None:
    prompts = Path("prompts.txt")
    prompts.write_text("a red circle\n" * 500)
    process = subprocess.Popen(
        [LIQUID, "generate", "--prompt-file", prompts, "-o", "out/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    more, errors = process.communicate(timeout=60)  # of 500 pictures
    assert len(more.splitlines()) <= 1  # the picture that was just done
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert Path(first).is_file()
    assert not list(Path("out").glob(".*"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_flags(shell: str) -> None:
    words = {"bash": "liquid gen", "zsh": "liquid gen", "fish": "liquid gen"}[shell]
    environment = {
        **os.environ,
        "_LIQUID_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "TERM": "dumb",
    }
    done = subprocess.run([LIQUID], env=environment, capture_output=True, text=True)
    assert "generate" in done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_completion_script_works_in_bash() -> None:
    script = """
    eval "$(_LIQUID_COMPLETE=source_bash liquid)"
    COMP_WORDS=(liquid generate --contact); COMP_CWORD=2
    _liquid_completion liquid
    echo "${COMPREPLY[@]}"
    """
    path = f"{Path(LIQUID).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "--contact-sheet"


def test_colour_is_not_used_in_pipes(photos: Path) -> None:
    for arguments in (["--help"], ["models", "--json"], ["info", "demo"], ["ask", "x.png", "?"]):
        done = liquid(*arguments, env={**os.environ, "NO_COLOR": "1"})
        assert "\x1b" not in done.stdout + done.stderr


def test_json_is_utf_8_in_any_locale(photos: Path) -> None:
    name = "photos/rouge é.png"
    (photos / "red.png").rename(name)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}
    done = liquid("ask", name, "What?", "-m", "1", "--json", env=environment)
    assert json.loads(done.stdout)["picture"] == name
