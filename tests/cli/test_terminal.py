"""What people see: the status line, and text that cannot drive the terminal."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liquid_mlx.cli.terminal import Status, clean, duration, one_line


@given(st.text())
def test_clean_text_has_no_control_character(text: str) -> None:
    safe = clean(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", safe)
    assert "\n" not in one_line(text)


def test_clean_keeps_what_is_text() -> None:
    assert clean("a\tb\nc é 红 👍") == "a\tb\nc é 红 👍"
    assert clean("\x1b]0;title\x07\x1b[2Jx\r") == "]0;title[2Jx"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.234, "1.2 s"), (42.4, "42 s"), (75, "1 min 15 s"), (7300, "2 h 1 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Screen:
    """A stderr that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        return [line for line in re.split(r"\r\x1b\[K|\n", self.text) if line]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_progress_tells_speed_and_time_left_on_one_line(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    with Status() as status:
        status.start()
        status.progress("a very long prompt " * 20, 16, 64)
        status.progress("x", 64, 64)
    assert len(screen.lines) == 2
    assert all(len(line) < columns for line in screen.lines)
    assert re.search(r"16/64  [\d.]+ tokens/s  .+ left$", screen.lines[0]) or columns == 40
    assert screen.text.endswith("\r\x1b[K")


def test_quiet_says_nothing_but_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with Status(quiet=True) as status:
        status.show("x")
        status.progress("x", 1, 2)
        status.say("x")
        assert screen.text == ""
        status.warn("it broke")
    assert screen.text == "liquid: it broke\n"


def test_a_pipe_gets_only_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with Status() as status:
        status.show("x")
        status.progress("x", 1, 2)
        status.say("done  now")
    assert capsys.readouterr() == ("", "done  now\n")
