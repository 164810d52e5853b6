"""Wrong command lines, each with what was probably meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from liquid_mlx.cli.main import COMMANDS, load_command
from tests.cli.conftest import Run

WRONG = [
    ("draw 'a red circle'", "`liquid generate`"),
    ("imagine x", "`liquid generate`"),
    ("txt2img x", "`liquid generate`"),
    ("genrate x", "`liquid generate`"),
    ("vqa photos/red.png x", "`liquid ask`"),
    ("describe photos/red.png", "`liquid caption`"),
    ("talk", "`liquid chat`"),
    ("quantize x", "`liquid convert`"),
    ("benchmark", "`liquid bench`"),
    ("list", "`liquid models`"),
    ("show demo", "`liquid info`"),
    ("settings", "`liquid config`"),
    ("help", "`liquid --help`"),
    ("help generate", "`liquid generate --help`"),
    ("help nothing", "`liquid --help`"),
    ("version", "`liquid --version`"),
    ("zzzz", "`liquid --help`"),
    ("'a red circle'", '`liquid generate "a red circle"`'),
    ("a red circle", '`liquid generate "a red circle"`'),
    ("photos/red.png", "`liquid ask photos/red.png"),
    ("--model x generate y", "behind the command"),
    ("-V", "`--version`"),
    ("generate a red circle", '"a red circle"'),
    ("generate red circle large -o x.png", '"red circle large"'),
    ("generate the sea", '"the sea"'),
    ("generate 'a red circle' --seed 1 2 3", "--seed 1,2,3"),
    ("generate x -n 3", "`--count 3`"),
    ("generate x --num-images 4", "`--count 4`"),
    ("generate x -s 7", "`--seed 7`"),
    ("generate x --cfg-scale 3", "`--guidance 3`"),
    ("generate x --guidence 3", "`--guidance 3`"),
    ("generate x --steps 20", "without diffusion steps"),
    ("generate x --negative-prompt blurry", "negative prompts"),
    ("generate x --out y.png", "`--output y.png`"),
    ("generate x --force", "`--overwrite`"),
    ("generate x --batch 4", "`--batch-size 4`"),
    ("generate x -W 64", "`--width 64`"),
    ("generate x --watch", "`--preview`"),
    ("ask 'What is it?' photos/red.png", 'liquid ask photos/red.png "What is it?"'),
    ("ask What is it photos/red.png", 'liquid ask photos/red.png "What is it"'),
    ("ask photos/red.png What is it", 'liquid ask photos/red.png "What is it"'),
    ("ask photos/red.png", 'liquid ask photo.jpg "What is this?"'),
    ("ask photos/red.png --question What?", "`--prompt What?`"),
    ("ask photos/red.png What? --max-new-tokens 9", "`--max-tokens 9`"),
    ("caption photos/red.png --max_tokens 9", "`--max-tokens 9`"),
    ("chat hello there", 'echo "hello there" | liquid chat'),
    ("convert some/repo", "--hf-path some/repo"),
    ("convert --hf-path x --bits 4", "`--q-bits 4`"),
    ("models delete x", "--delete NAME"),
    ("models nowhere", "There is no folder nowhere"),
]


def test_there_are_at_least_forty() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize(("line", "hint"), WRONG)
def test_a_slip_is_answered_by_what_was_meant(line: str, hint: str, run: Run, photos: Path) -> None:
    done = run(*shlex.split(line))
    assert done.exit_code == 2
    assert done.stdout == ""
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert hint in sentence


@pytest.mark.parametrize(
    "line",
    [
        "generate -p cat -p dog -p bird --model none",
        "generate cat dog --model none",
        "generate 'a red circle' 'a blue star' 'a boat' --model none",
        "generate 12 13 --seed 1 --model none",
        "ask photos/red.png photos/blue.png What? --model none",
        "ask 'photos/*.png' 'What is it?' --model none",
        "ask -p 'What is it?' photos/red.png --model none",
    ],
)
def test_what_can_be_meant_is_not_stopped(line: str, run: Run, photos: Path) -> None:
    done = run(*shlex.split(line))
    assert done.exit_code == 1
    assert "no model folder 'none'" in done.stderr


def test_an_existing_file_is_answered_by_a_free_name(run: Run) -> None:
    for name in ("out.png", "out-1.png"):
        Path(name).touch()
    done = run("generate", "x", "-o", "out.png")
    assert "out-2.png is free" in done.stderr
    assert "--overwrite" in done.stderr


def test_guidance_far_above_the_models_own_is_mentioned(run: Run, model: str) -> None:
    far = run("generate", "a red circle", "--guidance", "100", "-o", "far.png")
    assert "guidance 100 is far above" in far.stderr
    near = run("generate", "a red circle", "--guidance", "2", "-o", "near.png")
    assert "far above" not in near.stderr


def test_help_shows_every_summary_in_full(run: Run) -> None:
    shown = " ".join(run("--help").stdout.split())
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} {summary}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_q_is_quiet_or_quantize_and_no_help_names_it_for_quiet(name: str, run: Run) -> None:
    options = {opt: param for param in load_command(name).params for opt in param.opts}
    if name == "convert":
        assert options["-q"].name == "quantize"
    else:
        assert "-q" not in options
    if "--quiet" in options:
        assert options["--quiet"].opts == ["--quiet"]


def test_the_old_spelling_of_quiet_is_taken(run: Run, photos: Path) -> None:
    done = run("generate", "a red circle", "-q", "-o", "q.png")
    assert (done.exit_code, done.stderr) == (0, "")
    assert run("caption", "photos/red.png", "-qm", "2").exit_code == 0
