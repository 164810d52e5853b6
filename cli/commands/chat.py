"""``liquid chat``: a conversation, with images."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from liquid_mlx.errors import LiquidError, UsageError
from liquid_mlx.files import atomic_write

from .. import options
from ..drawing import Draw, OutputOptions, draw, summary
from ..inputs import Source
from ..outputs import DEFAULT_NAME, check_free, picture_paths
from ..terminal import Status, clean

if TYPE_CHECKING:
    import numpy as np

    from liquid_mlx.model import Liquid

HELP = """\
/image FILE   attach an image to your next message
/draw PROMPT  generate an image, written to this folder
/save FILE    save the conversation as JSON
/reset        start over
/help         show this list
/quit         quit (or Ctrl-D)"""


def chat(
    model: options.Model = "demo",
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = None,
    no_exif: options.NoExif = False,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
) -> None:
    """Chat with the model, line by line. /help lists the commands, Ctrl-D ends."""
    asked = sys.stdin.isatty()
    failed = False
    with Status(quiet) as status:
        liquid = options.load_model(model, status, dtype=dtype)
        sampling = options.Sampling(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
        )
        talk = Conversation(liquid, sampling, status, exif=not no_exif)
        if asked:
            import readline  # noqa: F401  (gives input() its history and its keys)

            status.say(f"{model}. /help lists the commands, Ctrl-D ends.")
        while True:
            try:
                line = input("> " if asked else "").strip()
            except EOFError:
                if asked:
                    print()
                break
            except UnicodeDecodeError:
                status.warn("The line is not UTF-8 text.")
                failed = True
                continue
            if line in ("/quit", "/exit"):
                break
            try:
                talk.take(line)
            except (LiquidError, OSError) as error:
                status.warn(str(error))
                failed = True
            except KeyboardInterrupt:
                if not asked:
                    raise
                print()
    if failed and not asked:
        raise typer.Exit(3)


class Conversation:
    """The messages so far, the pictures they show, and what the lines of the user do."""

    def __init__(self, liquid: Liquid, sampling: options.Sampling, status: Status, exif: bool):
        self._liquid = liquid
        self._sampling = sampling
        self._status = status
        self._exif = exif
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._image,
            "/draw": self._draw,
            "/save": self._save,
            "/reset": self._reset,
            "/help": lambda rest: print(HELP, flush=True),
        }
        self._messages: list[dict[str, str]] = []
        self._pictures: dict[int, np.ndarray] = {}  # by message: the codes, and the file's name
        self._files: dict[int, str] = {}
        self._shown: tuple[str, np.ndarray] | None = None  # for the next message

    def take(self, line: str) -> None:
        """Do what a line says: a command, or a message to answer."""
        name, _, rest = line.partition(" ")
        if name in self._commands:
            self._commands[name](rest.strip())
        elif name.startswith("/") and "/" not in name[1:]:
            raise UsageError(f"There is no command {name}: /help lists them.")
        elif line:
            self._answer(line)

    def _answer(self, text: str) -> None:
        messages = [*self._messages, {"role": "user", "content": text}]
        pictures = dict(self._pictures)
        if self._shown is not None:
            pictures[len(messages) - 1] = self._shown[1]
        reply = ""
        try:
            for step in self._liquid.stream_chat(messages, pictures=pictures, **self._sampling):
                reply += step.text
                print(clean(step.text), end="", flush=True)
        finally:  # an answer that was cut short stays in the conversation as far as it came
            if reply:
                print(flush=True)
                if self._shown is not None:
                    self._files[len(messages) - 1] = self._shown[0]
                self._messages = [*messages, {"role": "assistant", "content": reply}]
                self._pictures, self._shown = pictures, None
        if not reply:
            self._status.say("(no answer)")

    def _image(self, name: str) -> None:
        if not name:
            raise UsageError("/image needs a file or a URL.")
        name = name.strip("'\"")
        self._shown = name, self._liquid.encode(Source(name).read(), exif=self._exif)
        self._status.say(f"{name} is attached to your next message")

    def _draw(self, prompt: str) -> None:
        if not prompt:
            raise UsageError("/draw needs a prompt.")
        seed = self._sampling["seed"]
        if seed is None:
            seed = random.SystemRandom().randrange(2**32)
        task = Draw(prompt, seed, picture_paths(DEFAULT_NAME, [(prompt, seed)]))
        how = OutputOptions(settings={}, preview=True, overwrite=True)
        (drawn,) = draw(self._liquid, task, how, self._status, prompt)
        self._status.say(summary(drawn))
        if not (self._status.live and sys.stdout.isatty()):
            print(drawn.path, flush=True)

    def _save(self, name: str) -> None:
        if not name:
            raise UsageError("/save needs a file.")
        path = Path(name).expanduser()
        check_free([path], overwrite=False)
        messages = [
            {**message, "image": self._files[i]} if i in self._files else message
            for i, message in enumerate(self._messages)
        ]
        text = json.dumps({"messages": messages}, indent=2, ensure_ascii=False)
        atomic_write(path, text + "\n")
        self._status.say(f"{path}  {len(messages)} messages")

    def _reset(self, rest: str) -> None:
        self._messages, self._pictures, self._files, self._shown = [], {}, {}, None
