"""Files that commands read, with anything in them: what they say, or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from liquid_mlx.cli.commands.codes import read_codes
from liquid_mlx.cli.printer import print_fields
from liquid_mlx.cli.tasks import stored_settings
from liquid_mlx.cli.terminal import safe_output
from liquid_mlx.cli.training_data import pairs
from liquid_mlx.cli.vqa import Answers, Question, read_questions
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import LiquidError
from liquid_mlx.params import ImageParams
from tests.test_display import ANY, drives_a_terminal

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**200) | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=6,
)
TEXT = st.sampled_from(["", "{", "[" * 10**5, "1", "null", '"x"', "NaN", "\\", "9" * 5000, "\0"])
anything = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, or None after one sentence of sensible length."""
    try:
        return read()
    except LiquidError as error:
        message = str(error)
    assert len(message) < 600
    assert message.endswith((".", '"', "lines: split it."))
    return None


def spoiled(line: dict[str, Any]) -> st.SearchStrategy[str]:
    """A line of JSON with one field replaced, one left out, or no such line."""
    replaced = st.tuples(st.sampled_from(sorted(line)), VALUE).map(lambda p: {**line, p[0]: p[1]})
    fewer = st.sampled_from(sorted(line)).map(lambda name: {k: line[k] for k in line if k != name})
    return (replaced | fewer | VALUE).map(json.dumps) | TEXT


QUESTION = {"question_id": 1, "image": "a.png", "text": "What?"}


@anything
@given(spoiled(QUESTION))
def test_questions(tmp_path: Path, line: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(f"{json.dumps(QUESTION)}\n{line}\n")
    for question in outcome(lambda: read_questions(file)) or []:
        assert isinstance(question.id, (int, str))
        assert isinstance(question.image, str)
        assert isinstance(question.text, str)


@anything
@given(spoiled({"question_id": 1, "prompt": "What?", "text": "x"}))
def test_answers(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{line}\n")
    outcome(lambda: Answers(file, [Question(1, "a.png", "What?")], Team()))
    assert file.read_text() == f"{line}\n"


@anything
@given(spoiled({"image_path": "~/a.png", "text": "x"}))
def test_pairs(tmp_path: Path, line: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f"{line}\n")
    for pair in outcome(lambda: pairs(file)) or []:
        assert isinstance(pair.text, str)


@anything
@given(st.sampled_from([".json", ".jsonl", ".npy"]), VALUE.map(json.dumps) | TEXT)
def test_codes(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"codes{suffix}"
    file.write_text(text)
    for grid in outcome(lambda: read_codes(file)) or []:
        assert isinstance(grid, np.ndarray)


@anything
@given(st.binary(max_size=40), st.integers(0, 140))
def test_codes_of_damaged_arrays(tmp_path: Path, junk: bytes, at: int) -> None:
    file = tmp_path / "codes.npy"
    np.save(file, np.arange(4).reshape(2, 2))
    data = file.read_bytes()
    file.write_bytes(data[:at] + junk + data[at + len(junk) :])
    for grid in outcome(lambda: read_codes(file)) or []:
        assert isinstance(grid, np.ndarray)


SETTINGS = {"prompt": "x", "seed": 1, "top_k": 5, "width": 64, "height": 64, "guidance": 2.0}
SETTINGS |= {"temperature": 1.0, "top_p": 0.9, "model": "demo", "dtype": "float32"}


@anything
@given(spoiled(SETTINGS), st.booleans())
def test_settings_of_pictures(tmp_path: Path, text: str, inside: bool) -> None:
    file = tmp_path / ("in.png" if inside else "in.json")
    if inside:
        info = PngInfo()
        info.add_itxt("liquid", text)
        Image.new("RGB", (2, 2)).save(file, pnginfo=info)
    else:
        file.write_text(text)
    found = outcome(lambda: stored_settings(file))
    if found:
        own = {name: found[name] for name in ImageParams.__dataclass_fields__ if name in found}
        outcome(lambda: ImageParams(**own))


@anything
@given(st.dictionaries(ANY, VALUE, max_size=5))
def test_any_settings_can_be_shown(values: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *text, **_: lines.extend(text))
        print_fields({name: str(value) for name, value in values.items()})
    assert not drives_a_terminal("".join(lines))


def test_a_flood_of_settings_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    with safe_output():
        print_fields({"name" * 10_000: "value" * 10_000} | {f"{i}": "x" * 999 for i in range(9999)})
    shown = capsys.readouterr().out
    assert len(shown) < 200_000
    assert "and 9900 more" in shown
