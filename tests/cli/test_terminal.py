"""What people see: the status line, and text that cannot drive the terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from liquid_mlx.cli.terminal import Status, clean, duration, raw, safe_output
from liquid_mlx.errors import FileError
from tests.cli.conftest import screen
from tests.test_display import drives_a_terminal


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
        """What it shows now."""
        return [line for line in screen(self.text.replace("\n", "\r\n").encode()) if line]


def terminal_on_stderr(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Screen:
    terminal = Screen()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    return terminal


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_progress_tells_speed_and_time_left_on_one_line(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_on_stderr(monkeypatch, columns)
    with Status() as status:
        status.start()
        for title, done in (("a very long prompt " * 20, 16), ("x", 64)):
            status.progress(title, done, 64)
            (line,) = terminal.lines
            assert len(line) <= columns
            assert re.search(rf"━  {done}/64  [\d.]+ tokens/s  .+ left$", line) or columns == 40
    assert terminal.lines == []
    assert terminal.text.endswith("\x1b[2K")


def test_progress_begins_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_on_stderr(monkeypatch)
    with Status() as status:
        status.progress("photo.png", 0, 3, "images")
        (line,) = terminal.lines
    assert line.endswith("0/3")


def test_markup_in_foreign_text_is_only_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_on_stderr(monkeypatch)
    text = "[bold red]x[/] [link=https://example.com]y[/link] :smile:"
    with Status() as status:
        status.show(text)
        assert terminal.lines == [text]
        status.progress(text, 1, 2)
        assert terminal.lines[0].startswith("[bold red]x[/] [link")
        status.say(text)
        assert terminal.lines == [text]


def test_other_output_starts_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_on_stderr(monkeypatch)
    with Status() as status:
        status.progress("x", 1, 2)
        status.say("first")
        status.progress("x", 2, 2)
        status.warn("second")
        assert terminal.lines == ["first", "liquid: second"]


def test_quiet_says_nothing_but_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_on_stderr(monkeypatch)
    with Status(quiet=True) as status:
        status.show("x")
        status.progress("x", 1, 2)
        status.say("x")
        assert terminal.text == ""
        status.warn("it broke")
    assert terminal.text == "liquid: it broke\n"


def test_a_pipe_gets_only_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with Status() as status:
        status.show("x")
        status.progress("x", 1, 2)
        status.say("done  now")
    assert capsys.readouterr() == ("", "done  now\n")


HOSTILE = "a\x1b]0;t\x07\x9b31m\x7f\u202eb\u2028\ud800c"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_whatever_is_printed_is_cleaned(stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    with safe_output():
        print(HOSTILE, HOSTILE, file=getattr(sys, stream))
        sys.stderr.write(HOSTILE)
    shown = "".join(capsys.readouterr())
    assert not drives_a_terminal(shown)
    assert "a]0;t31mb\ufffdc" in shown


def test_lines_on_stderr_are_cut_and_results_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with safe_output():
        print("x" * 10_000 + "\n" + "y" * 10_000, file=sys.stderr)
        print("z" * 10_000)
    shown = capsys.readouterr()
    assert [len(line) for line in shown.err.splitlines()] == [600, 600]
    assert shown.out == "z" * 10_000 + "\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "I/O")])
def test_stderr_may_be_lost_but_stdout_may_not(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise error

    before = Full(), Full()
    monkeypatch.setattr(sys, "stdout", before[0])
    monkeypatch.setattr(sys, "stderr", before[1])
    with safe_output():
        print("x", file=sys.stderr, flush=True)
        with pytest.raises(FileError, match="stdout cannot be written"):
            print("x", flush=True)
    assert (sys.stdout, sys.stderr) == before


def test_the_terminal_s_own_sequences_go_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_on_stderr(monkeypatch)
    with safe_output(), Status() as status:
        status.show(HOSTILE)
        assert terminal.lines == ["a]0;t31mb\ufffdc"]
        raw(sys.stderr).write("\x1b[2K")
    assert terminal.text.endswith("\x1b[2K")
