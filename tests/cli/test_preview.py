"""Pictures in the terminal: the protocol is chosen rightly, and carries the right pixels."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

from liquid_mlx.cli.preview import Preview, half_blocks, protocol
from tests.cli.conftest import in_terminal


@pytest.mark.parametrize(
    ("environment", "terminal", "name"),
    [
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, True, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, True, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True, "iterm2"),
        ({"TERM": "xterm-kitty"}, True, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, True, "kitty"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, True, "blocks256"),
        ({"TERM": "screen-256color", "TMUX": "x", "TERM_PROGRAM": "iTerm.app"}, True, "blocks256"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True, None),
        ({"TERM": "dumb"}, True, None),
        ({}, True, None),
        ({"TERM": "xterm-kitty"}, False, None),
    ],
)
def test_protocol(environment: dict[str, str], terminal: bool, name: str | None) -> None:
    assert protocol(environment, terminal) == name


def test_half_blocks_carry_two_pixels_a_character() -> None:
    pixels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3) * 7
    text = half_blocks(Image.fromarray(pixels), columns=3, lines=2, full=True)
    found = re.findall(r"38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀", text)
    seen = np.array(found, dtype=np.uint8).reshape(2, 3, 2, 3).transpose(0, 2, 1, 3)
    assert np.array_equal(seen.reshape(4, 3, 3), pixels)
    assert text.count("\n") == 2


def test_half_blocks_of_256_colours_stay_in_the_cube() -> None:
    text = half_blocks(Image.new("RGB", (2, 2), (255, 0, 0)), columns=2, lines=1, full=False)
    assert re.findall(r"38;5;(\d+);48;5;(\d+)m", text) == [("196", "196")] * 2


def test_the_picture_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    preview = Preview(64, 64, "blocks")
    preview.show(Image.new("RGB", (64, 8)))
    first = screen.getvalue()
    preview.show(Image.new("RGB", (64, 64)))
    second = screen.getvalue()[len(first) :]
    lines = first.count("▀\x1b[0m\x1b[K\n")
    assert f"\x1b[{lines}A" in first
    assert f"\x1b[{lines}A" in second
    assert first.count("\n") == 2 * lines  # room is made once
    assert second.count("\n") == lines


@pytest.mark.parametrize("name", ["kitty", "iterm2"])
def test_in_a_terminal_the_last_preview_is_the_picture(name: str) -> None:
    environment = {"kitty": {"TERM": "xterm-kitty"}, "iterm2": {"TERM_PROGRAM": "iTerm.app"}}[name]
    command = ["generate", "a red circle", "-o", "out.png", "--seed", "1", "--preview"]
    done = in_terminal(command, environment=environment)
    assert done.code == 0
    if name == "kitty":
        shown = re.split(rb"\x1b_Ga=T", done.output)[1:]
        data = [b"".join(re.findall(rb"m=[01];([^\x1b]*)\x1b\\", b"a=T" + part)) for part in shown]
    else:
        data = re.findall(rb"\x1b\]1337;File=inline=1;[^:]*:([^\a]*)\a", done.output)
    assert len(data) >= 2
    last = Image.open(io.BytesIO(base64.b64decode(data[-1])))
    assert np.array_equal(np.asarray(last), np.asarray(Image.open("out.png")))


def test_in_a_plain_terminal_blocks_are_shown_and_in_a_pipe_nothing() -> None:
    command = ["generate", "a red circle", "--seed", "1", "--preview", "-o"]
    done = in_terminal([*command, "a.png"], environment={"COLORTERM": "truecolor"})
    assert "▀".encode() in done.output
    done = in_terminal([*command, "b.png"], environment={"NO_COLOR": "1"})
    assert "▀".encode() not in done.output
    assert b"\x1b[38" not in done.output
