"""``liquid chat``: in a pipe and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from liquid_mlx import Liquid, load
from liquid_mlx.cli.terminal import clean
from liquid_mlx.images import read_settings
from liquid_mlx.prompts import Prompts
from liquid_mlx.results import TextStep
from tests.cli.conftest import BUNDLED, Run, in_terminal, with_context


def test_a_pipe_gets_the_answers_of_a_conversation(run: Run, model: str) -> None:
    done = run("chat", "-m", "6", input="hello\n\nwhat next?\n")
    liquid = load(model)
    messages = [{"role": "user", "content": "hello"}]
    first = liquid.chat(messages, max_tokens=6)
    messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "what next?"}]
    second = liquid.chat(messages, max_tokens=6)
    assert done.exit_code == 0
    assert done.stdout == f"{clean(first)}\n{clean(second)}\n"
    assert done.stderr == ""


def test_a_picture_goes_with_the_next_message(photos: Path, run: Run, model: str) -> None:
    lines = "/image photos/red.png\nwhat is it?\n/save talk.json\n"
    done = run("chat", "-m", "6", input=lines)
    liquid = load(model)
    messages = [{"role": "user", "content": "what is it?"}]
    pictures = {0: liquid.encode("photos/red.png")}
    expected = "".join(
        step.text for step in liquid.stream_chat(messages, pictures=pictures, max_tokens=6)
    )
    assert done.stdout == clean(expected) + "\n"
    assert json.loads(Path("talk.json").read_text())["messages"] == [
        {"role": "user", "content": "what is it?", "image": "photos/red.png"},
        {"role": "assistant", "content": expected},
    ]


def test_reset_forgets(photos: Path, run: Run) -> None:
    once = run("chat", "-m", "6", input="hello\n").stdout
    lines = "one\n/image photos/red.png\n/reset\nhello\n/save talk.json\n"
    done = run("chat", "-m", "6", input=lines)
    assert done.stdout.endswith(once)
    assert len(json.loads(Path("talk.json").read_text())["messages"]) == 2


def test_draw_writes_a_picture(run: Run) -> None:
    done = run("chat", "--seed", "3", "-q", input="/draw a red circle\n")
    assert done.stdout == "a-red-circle-3.png\n"
    assert read_settings("a-red-circle-3.png")["prompt"] == "a red circle"
    run("generate", "a red circle", "--seed", "3", "-o", "same.png")
    assert Path("same.png").read_bytes() == Path("a-red-circle-3.png").read_bytes()


def test_a_drawn_picture_belongs_to_the_conversation(
    run: Run, converted: Callable[..., Path]
) -> None:
    folder = converted("gemma_tiny", interleaved=True)
    lines = "/draw a red circle\nwhat is it?\n/save talk.json\n"
    done = run("chat", "--model", folder, "--seed", "3", "-m", "6", "-q", input=lines)
    liquid = load(folder)
    (picture,) = liquid.generate_image("a red circle", seed=3)
    messages = [
        {"role": "user", "content": "a red circle"},
        {"role": "assistant", "content": [picture.codes]},
        {"role": "user", "content": "what is it?"},
    ]
    expected = liquid.chat(messages, max_tokens=6, seed=3)
    assert clean(expected) in done.stdout
    saved = json.loads(Path("talk.json").read_text())["messages"]
    assert saved[1]["content"] == [{"image": "a-red-circle-3.png"}]
    assert len(saved) == 4


def test_other_models_see_a_drawn_picture_in_the_next_message(
    run: Run, converted: Callable[..., Path]
) -> None:
    folder = converted("gemma_tiny")
    lines = "/draw a red circle\nwhat is it?\n/save talk.json\n"
    done = run("chat", "--model", folder, "--seed", "3", "-m", "6", "--quiet", input=lines)
    liquid = load(folder)
    (picture,) = liquid.generate_image("a red circle", seed=3)
    talk = [{"role": "user", "content": [picture, "what is it?"]}]
    assert clean(liquid.chat(talk, max_tokens=6, seed=3)) in done.stdout
    saved = json.loads(Path("talk.json").read_text())["messages"]
    assert saved[0] == {"role": "user", "content": "what is it?", "image": "a-red-circle-3.png"}
    assert len(saved) == 2


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_model_that_does_not_draw_in_answers_hints_at_how(
    interleaved: bool, run: Run, converted: Callable[..., Path]
) -> None:
    folder = converted("gemma_tiny", interleaved=interleaved)
    done = run("chat", "--model", folder, "-m", "2", input="draw me a red circle.\nhello\n")
    assert done.stderr.count("try /draw a red circle)") == (not interleaved)
    assert done.stdout.count("\n") >= 2


def test_an_answer_that_repeats_itself_is_stopped(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: object, **__: object) -> Iterator[TextStep]:
        yield TextStep("so ", 5, 1)
        for position in range(2, 1000):
            yield TextStep(("la ", "lo ")[position % 2], position % 2, position)

    monkeypatch.setattr(Liquid, "stream_chat", endless)
    done = run("chat", input="sing\n/save talk.json\n")
    assert "repeats itself" in done.stderr
    assert done.stdout == "so " + "la lo " * 12 + "\n"
    answer = json.loads(Path("talk.json").read_text())["messages"][1]["content"]
    assert answer == "so la lo "


@pytest.mark.parametrize("name", ["gemma_tiny", pytest.param("demo", marks=pytest.mark.slow)])
def test_sixty_turns_with_pictures_fit_a_context_of_512(
    name: str,
    photos: Path,
    run: Run,
    converted: Callable[..., Path],
    copy_of: Callable[[Path], Path],
) -> None:
    """That holds few pictures: the oldest turns go, and nothing is an error."""
    folder = with_context(copy_of(BUNDLED if name == "demo" else converted(name)), 512)
    lines = [
        "hello there",
        "/draw a red circle",
        "what is it?",
        "/image photos/red.png",
        "and this?",
    ]
    turns = [lines[i % len(lines)] for i in range(100)]
    asked = [line for line in turns if not line.startswith("/")]
    assert len(asked) == 60
    done = run(
        "chat", "--model", folder, "-m", "8", "--seed", "1",
        input="\n".join([*turns, "/save talk.json"]),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "Traceback" not in done.output
    notices = done.stderr.count("the context is full")
    assert 1 <= notices < 30
    saved = json.loads(Path("talk.json").read_text())["messages"]
    answered = len(asked) - done.stderr.count("(no answer)")
    drawn = turns.count("/draw a red circle") if name == "demo" else 0  # it draws in answers
    assert len(saved) == 2 * (answered + drawn)


def test_a_picture_within_an_answer_is_saved_and_told(
    run: Run, model: str, converted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = converted("gemma_tiny", interleaved=True)
    liquid = load(folder)
    object.__setattr__(liquid.config, "interleaved", False)
    steps = liquid.stream_chat([{"role": "user", "content": "a boat"}], max_tokens=6)
    token = [step.token for step in steps][1]
    monkeypatch.setattr(Prompts, "opened", lambda self: [token])
    done = run(
        "chat", "--model", folder, "-m", "6", "--seed", "4", input="a boat\n/save talk.json\n"
    )
    assert "a-boat-5.png\n" in done.stdout
    assert read_settings("a-boat-5.png")["seed"] == 5
    reply = json.loads(Path("talk.json").read_text())["messages"][1]["content"]
    assert {"image": "a-boat-5.png"} in reply


def test_mistakes_are_told_and_the_conversation_goes_on(run: Run) -> None:
    Path("there.json").touch()
    lines = [
        "/foo", "/image", "/image none.png", "/draw", "/save", "/save there.json", "word " * 9000,
    ]  # fmt: skip
    done = run("chat", "-m", "4", input="\n".join([*lines, "hello", "/help", "/quit", "never"]))
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == len(lines)
    assert "Traceback" not in done.output
    assert "/reset" in done.stdout
    assert Path("there.json").read_text() == ""


def test_in_a_pipe_a_mistake_changes_the_exit_code(run: Run) -> None:
    assert run("chat", "-m", "2", input="/image none.png\nhello\n").exit_code == 3
    assert run("chat", "-m", "2", input=b"\xff\xfe\nhello\n").exit_code == 3


def test_on_a_terminal(photos: Path) -> None:
    keys = iter(
        [
            (b"> ", b"hello\n"),
            (b"> ", b"/image photos/red.png\n"),
            (b"next message", b"what is it?\n"),
            (b"> ", b"/draw a red circle\n"),
            (b"tokens/s)", b"/help\n"),
            (b"/quit", b""),
            (b"> ", b"\x04"),  # typed before the prompt, an end of file can be lost
        ]
    )
    done = in_terminal(["chat", "-m", "4"], keys=keys, environment={"COLORTERM": "truecolor"})
    assert done.code == 0
    assert b"/help lists the commands" in done.output
    assert "▀".encode() in done.output
    (picture,) = Path().glob("a-red-circle-*.png")
    assert Image.open(picture).size[0] > 0


def test_ctrl_c_stops_an_answer_and_not_the_conversation(photos: Path) -> None:
    keys = iter([(b"> ", b"hello\n"), (b"\n", b"\x03"), (b"> ", b"\x04")])
    done = in_terminal(["chat", "-m", "200", "--temp", "3"], keys=keys)
    assert done.code in (0, 130)
    assert b"Traceback" not in done.output
