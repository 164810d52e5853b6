"""Unlucky surroundings: closed streams, full disks, foreign locales, no home, company."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from liquid_mlx.images import read_settings
from tests.cli.conftest import LIQUID, Run

ASK = "ask photos/red.png What? -m 2 --model model"
DRAW = "generate x -o out.png --model model"
CHAT = "chat -m 2 --model model <<< $'hello\\nagain'"


@pytest.fixture(autouse=True)
def _tiny(converted: Callable[..., Path], photos: Path) -> None:
    """A small model called ``model``."""
    Path("model").symlink_to(converted("gemma_tiny"))


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``liquid COMMAND`` in a shell, for its redirections; variables that are "" are unset."""
    values = {**os.environ, **environment}
    for name in [name for name in environment if not environment[name]]:
        del values[name]
    line = f"{shlex.quote(LIQUID)} {command}"
    return subprocess.run(["bash", "-c", line], capture_output=True, env=values, timeout=120)  # type: ignore[return-value]


def sentence(errors: bytes) -> str:
    """The only line of stderr, which is an error's."""
    (line,) = errors.decode().splitlines()
    assert line.startswith("liquid: ")
    return line


@pytest.mark.parametrize("command", [ASK, DRAW, "chat --model model"])
@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-", "2>/dev/full"])
def test_without_stdin_or_stderr_all_is_as_ever(command: str, closed: str) -> None:
    if "chat" in command and "<&-" not in closed:
        command = f"{command} </dev/null"
    done = shell(f"{command} {closed}")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
    assert Path("out.png").exists() == (command == DRAW)


@pytest.mark.parametrize("command", [ASK, CHAT, "info model", "--help"])
@pytest.mark.parametrize("lost", [">&-", ">/dev/full"])
def test_results_that_cannot_be_written_are_an_error(command: str, lost: str) -> None:
    done = shell(f"{command} {lost}")
    assert done.returncode == 1
    assert "stdout cannot be written" in sentence(done.stderr)


def test_without_stdout_what_was_drawn_is_kept() -> None:
    done = shell(f"{DRAW} -q >/dev/full")
    assert done.returncode == 1
    assert "stdout cannot be written (No space left" in sentence(done.stderr)
    assert read_settings("out.png")["prompt"] == "x"


def test_a_reader_that_has_gone_gets_no_words() -> None:
    done = shell("models --json | true; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 1)
    assert done.stderr == b""


UMLAUTS = "für 红"
LOCALES = [
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "xx_YY.no-such", "LC_ALL": ""},
]


@pytest.mark.parametrize("locale", LOCALES)
def test_any_locale_takes_any_prompt(locale: dict[str, str]) -> None:
    done = shell(f"generate '{UMLAUTS}' -o out.png --model model --json", **locale)
    assert done.returncode == 0, done.stderr
    assert read_settings("out.png")["prompt"] == UMLAUTS
    assert json.loads(done.stdout)["prompt"] == UMLAUTS


@pytest.mark.parametrize("locale", LOCALES[:2])
@pytest.mark.parametrize(
    "command",
    [
        "ask 'rot für.png' 'Für wen?' -m 2 --model model",
        "ask 'rot für.png' Was? --choices 'für,wider' --json --model model",
        "caption 'rot für.png' -m 2 --txt --model model",
        "encode 'rot für.png' --model model",
        "generate x -o 'aus für.png' --model model",
    ],
)
def test_any_locale_takes_any_name(command: str, locale: dict[str, str]) -> None:
    Image.new("RGB", (8, 8)).save("rot für.png")
    done = shell(command, **locale)
    assert done.returncode == 0, done.stderr


def test_a_command_line_that_is_not_utf_8_is_read(run: Run) -> None:
    data = os.fsencode(LIQUID), b"generate", b"f\xfcr", b"-o", b"f\xfcr.png", b"--model", b"model"
    done = subprocess.run(data, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"f\xfcr.png" in os.listdir(b".")
    assert done.stdout == "f\ufffdr.png\n".encode()


@pytest.mark.parametrize("command", ["models", DRAW])
def test_nobody_needs_a_home(command: str) -> None:
    done = shell(command, HOME="", HF_HOME="", XDG_CACHE_HOME="")
    assert done.returncode == 0, done.stderr
    assert not Path("~").exists()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x.png", "~nobody-of-this-name/"])
def test_a_home_of_nobody_is_told(name: str, run: Run) -> None:
    for line in (f"ask {name} What?", f"generate x -o {name}", f"encode {name} -o {name}"):
        done = run(*line.split(), "--model", "model")
        assert done.exit_code == 1
        assert sentence(done.stderr.encode())
    assert not list(Path().glob("~*"))


def test_names_that_begin_with_a_tilde(run: Run) -> None:
    Path("pictures").mkdir()
    for name in ("pictures/~tilde.png", "pictures/~root", "~tilde.png"):
        Path(name).hardlink_to("photos/red.png")
    for name in ("pictures", "~tilde.png", "~til*.png"):
        done = run("ask", name, "What?", "-m", "1", "--model", "model")
        assert done.exit_code == 0, done.stderr
    assert run("generate", "x", "-o", "~new.png", "--model", "model").exit_code == 0
    assert Path("~new.png").is_file()


def test_pipes_and_devices_are_no_files(run: Run) -> None:
    os.mkfifo("pipe.png")
    os.mkfifo("pipe.jsonl")
    os.mkfifo("pipe.npy")
    for line in (
        "ask pipe.png What?",
        "caption /dev/zero",
        "info pipe.png",
        "decode pipe.npy",
        "generate --prompt-file pipe.jsonl",
        "generate -C pipe.png",
        "ask --questions pipe.jsonl --answers a.jsonl",
        "encode --pairs pipe.jsonl -o train.jsonl",
    ):
        done = run(*line.split())
        assert done.exit_code == 1, line
        sentence(done.stderr.encode())


@pytest.mark.parametrize("command", [DRAW, "encode photos/red.png -o out.npy --model model"])
def test_a_folder_that_cannot_be_written(command: str, run: Run) -> None:
    done = run(*command.replace("out.", "/proc/out.").split())
    assert done.exit_code == 1
    assert "/proc/out." in sentence(done.stderr.encode().splitlines()[-1])


def test_a_full_disk_leaves_nothing_half_written(run: Run, tmp_path: Path) -> None:
    """As any system can imitate it: files cannot grow beyond 0 or 1024 bytes."""
    Path("d.jsonl").write_text('{"text": "a red circle"}\n')
    tuning = "finetune d.jsonl -o tuned --iters 1 --rank 2 --val-split 0 -q --model model"
    assert run(*tuning.split()).exit_code == 0
    lines = [{"question_id": i, "image": "photos/red.png", "text": f"{i}?"} for i in range(30)]
    Path("q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for size, command in (
        (0, DRAW),
        (0, "encode photos/red.png -o out.npy --model model"),
        (1, "convert --hf-path model --mlx-path new --no-verify --quiet"),
        (1, "fuse --adapter tuned --output fused -q --model model"),
        (1, "ask --questions q.jsonl --answers a.jsonl -m 1 -q --model model"),
    ):
        limited = f"trap '' XFSZ; ulimit -f {size}; exec {shlex.quote(LIQUID)} {command}"
        done = subprocess.run(["bash", "-c", limited], capture_output=True)
        assert done.returncode == 1, command
        sentence(done.stderr.splitlines()[-1])
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not Path("out.png").exists()
    assert not Path("new").exists()
    assert not Path("fused").exists()
    assert not Path("out.npy").exists()
    answered = [
        json.loads(line)["question_id"] for line in Path("a.jsonl").read_text().splitlines()
    ]
    assert answered == list(range(len(answered)))
    assert 0 < len(answered) < 30


def test_two_processes_with_the_same_outputs(run: Run) -> None:
    """Of two that draw to one name, one is told; one file of answers has one writer."""
    command = f"{shlex.quote(LIQUID)} {DRAW} -q"
    both = [subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert "exist" in sentence(b"".join(errors))
    assert read_settings("out.png")["prompt"] == "x"


def test_a_file_of_answers_has_one_writer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    question = {"question_id": 1, "image": "photos/red.png", "text": "What?"}
    Path("q.jsonl").write_text(json.dumps(question))
    line = ["ask", "--questions", "q.jsonl", "--answers", "a.jsonl", "-m", "1", "--model", "model"]
    with open("a.jsonl", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = run(*line)
        assert done.exit_code == 1
        assert "Another process is writing a.jsonl" in sentence(done.stderr.encode())
    assert run(*line).exit_code == 0
    assert len(Path("a.jsonl").read_text().splitlines()) == 1
