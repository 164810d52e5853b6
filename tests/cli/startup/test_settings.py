"""The user's own defaults: what wins, and what is wrong in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liquid_mlx.cli.startup.settings import SHARED, config_path
from liquid_mlx.images import read_settings
from tests.cli.conftest import Run


def write(text: str) -> Path:
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def in_force(run: Run) -> dict[str, tuple[object, str]]:
    done = run("config", "--json")
    assert done.exit_code == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    return {name: (row["value"], row["from"]) for name, row in settings.items()}


def test_the_file_is_where_config_files_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config_path() == tmp_path / ".config/liquid-mlx/config.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert config_path() == tmp_path / "home/.config/liquid-mlx/config.toml"
    monkeypatch.setenv("LIQUID_CONFIG", "~/other.toml")
    assert config_path() == tmp_path / "home/other.toml"


def test_without_a_file_all_is_as_the_model_recommends(run: Run, model: str) -> None:
    shared = {name for name in SHARED if name != "model" or model == "demo"}
    found = in_force(run)
    assert {name: found[name] for name in shared} == dict.fromkeys(shared, (None, "default"))


def test_flags_win_over_variables_and_these_over_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("quiet = true\n[generate]\nguidance = 2\ntop_k = 9\n")

    def guidance(*flags: str) -> float:
        done = run("generate", "a red circle", "-o", "out.png", "--overwrite", *flags)
        assert (done.exit_code, done.stderr) == (0, "")
        settings = read_settings("out.png")
        assert settings["top_k"] == 9
        return float(settings["guidance"])

    assert guidance() == 2
    assert in_force(run)["generate.guidance"] == (2, f"{path} [generate]")
    monkeypatch.setenv("LIQUID_GENERATE_GUIDANCE", "2.5")
    assert guidance() == 2.5
    assert in_force(run)["generate.guidance"] == ("2.5", "LIQUID_GENERATE_GUIDANCE")
    assert guidance("--guidance", "1.25") == 1.25
    assert in_force(run)["quiet"] == (True, str(path))


def test_the_settings_of_a_picture_win_over_the_file_and_flags_over_both(run: Run) -> None:
    run("generate", "a red circle", "-o", "first.png", "--seed", "1", "--guidance", "2")
    write("[generate]\nguidance = 3\nseed = 5\n")
    again = ["generate", "-C", "first.png", "-o", "again.png", "--overwrite"]
    assert run(*again).exit_code == 0
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    run(*again, "--guidance", "1")
    assert read_settings("again.png")["guidance"] == 1


def test_images_go_into_the_output_folder_unless_a_name_is_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('output_folder = "drawn"\n')
    assert run("generate", "a red circle", "--seed", "3").stdout == "drawn/a-red-circle-3.png\n"
    assert run("generate", "a red circle", "-o", "here.png").stdout == "here.png\n"
    monkeypatch.setenv("LIQUID_OUTPUT_FOLDER", "other/")
    assert run("generate", "a red circle", "--seed", "3").stdout == "other/a-red-circle-3.png\n"


def test_the_model_of_all_commands_can_be_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIQUID_MODEL", raising=False)
    write('model = "nowhere"\n[caption]\nmodel = "elsewhere"\n')
    assert "'nowhere'" in run("generate", "x").stderr
    assert "'nowhere'" in run("chat").stderr
    assert "'elsewhere'" in run("caption", "x.png").stderr
    assert "'mine'" in run("generate", "x", "--model", "mine").stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = ", "is not a TOML file"),
        ("modle = 'x'", "did you mean model?"),
        ("guidance = 3", "stand below [generate]"),
        ("[genrate]\nguidance = 3", "did you mean generate?"),
        ("[generate]\nguidence = 3", "did you mean guidance?"),
        ("[generate]\nguidance = [1, 2]", "is one text, number"),
        ("[generate]\nprompt = 'x'", "no setting 'prompt'"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, words: str, run: Run) -> None:
    path = write(text)
    for arguments in (["generate", "x"], ["config"]):
        done = run(*arguments)
        assert done.exit_code == 1
        assert str(path) in done.stderr
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert run("generate", "--help").exit_code == 0


def test_a_wrong_value_is_an_error_that_names_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("[generate]\nguidance = 'strong'\n")
    done = run("generate", "x")
    assert done.exit_code == 2
    assert f"It is set by {path} [generate]." in done.stderr
    assert run("generate", "x", "--guidance", "high").stderr.count("It is set by") == 0
    monkeypatch.setenv("LIQUID_GENERATE_GUIDANCE", "much")
    assert "LIQUID_GENERATE_GUIDANCE" in run("generate", "x").stderr


def test_config_shows_a_table_for_people(run: Run) -> None:
    path = write("scale = 4\n")
    lines = run("config").stdout.splitlines()
    assert lines[0] == str(path)
    assert any(line.split() == ["scale", "4", str(path)] for line in lines)
    path.unlink()
    assert "(not there)" in run("config").stdout
