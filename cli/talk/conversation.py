"""A conversation: the messages so far, and what the lines of the user do."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liquid_mlx.display import to_json
from liquid_mlx.errors import UsageError
from liquid_mlx.files import atomic_write, user_path

from .. import options
from ..drawing import Draw, OutputOptions, draw, summary
from ..inputs import Source
from ..outputs import DEFAULT_NAME, check_free, picture_paths
from ..preview import Preview
from ..terminal import Status, clean
from .rules import repeated, to_draw, turns_to_drop

if TYPE_CHECKING:
    import numpy as np

    from liquid_mlx.model import Liquid
    from liquid_mlx.results import GeneratedImage, ImageStep, TextStep

HELP = """\
/image FILE   attach an image to your next message
/draw PROMPT  generate an image, written to this folder; your next message is about it
/save FILE    save the conversation as JSON
/reset        start over
/help         show this list
/quit         quit (or Ctrl-D)"""


class _Reply:
    """An answer as it comes: texts and pictures' codes, and the same with files instead."""

    def __init__(self) -> None:
        self.content: list[str | np.ndarray] = []
        self.files: list[dict[str, str]] = []
        self._tokens: list[int] = []  # of the text at its end
        self._pieces: list[str] = []

    def write(self, step: TextStep) -> bool:
        """Add a token; True if the text only repeats itself, of which the first time stays."""
        self._tokens.append(step.token)
        self._pieces.append(step.text)
        surplus = repeated(self._tokens)
        text = "".join(self._pieces[: len(self._pieces) - surplus])
        if text:
            if not (self.content and isinstance(self.content[-1], str)):
                self.content.append("")
                self.files.append({})
            self.content[-1] = text
            self.files[-1] = {"text": text}
        return surplus > 0

    def show(self, codes: np.ndarray, path: Path) -> None:
        """Add a picture."""
        self.content.append(codes)
        self.files.append({"image": str(path)})
        self._tokens, self._pieces = [], []


class Conversation:
    """The messages so far, the pictures they show, and what the lines of the user do."""

    def __init__(
        self,
        liquid: Liquid,
        sampling: options.Sampling,
        status: Status,
        exif: bool,
        write: bool = True,
    ):
        self._liquid = liquid
        self._sampling = sampling
        self._status = status
        self._exif = exif
        self._writes = write
        self._commands: dict[str, Callable[[str], None]] = {
            "/image": self._image,
            "/draw": self._draw,
            "/save": self._save,
            "/reset": self._reset,
            "/help": lambda rest: print(HELP, flush=True),
        }
        self._messages: list[dict[str, Any]] = []  # as ``stream_chat`` takes them
        self._saved: list[dict[str, Any]] = []  # the same for /save: files instead of codes
        self._noted = False
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
        from liquid_mlx.results import TextStep  # MLX, which help does without

        self._hint(text)
        file, codes = self._shown or (None, None)
        said = {"role": "user", "content": text if codes is None else [codes, text]}
        self._make_room(said)
        reply, loops = _Reply(), False
        try:
            for step in self._liquid.stream_chat([*self._messages, said], **self._sampling):
                if not isinstance(step, TextStep):
                    self._take_picture(step, reply)
                    continue
                print(clean(step.text), end="", flush=True)
                loops = reply.write(step)
                if loops:
                    break
        finally:  # an answer that was cut short stays in the conversation as far as it came
            self._status.clear()
            if reply.content:
                if isinstance(reply.content[-1], str):
                    print(flush=True)
                self._add(said, text, reply.content, reply.files, {"image": file} if file else {})
                self._shown = None
        if loops:
            self._status.say("(stopped: the answer repeats itself)")
        if not reply.content:
            self._status.say("(no answer)")

    def _make_room(self, said: dict[str, Any]) -> None:
        """Drop the oldest turns if the context has no room for the message and an answer."""
        messages = [*self._messages, said]
        if turns := turns_to_drop(self._liquid, messages, self._sampling["max_tokens"]):
            del self._messages[: 2 * turns]
            what = "turn was" if turns == 1 else f"{turns} turns were"
            self._status.say(f"(the context is full: the oldest {what} dropped)")

    def _hint(self, text: str) -> None:
        """Tell how a model that does not draw in its answers can be made to draw."""
        if not self._liquid.config.interleaved and (what := to_draw(text)):
            self._status.say(f"(this model does not draw in its answers: try /draw {what})")

    def _take_picture(self, step: ImageStep, reply: _Reply) -> None:
        """Show how far a picture of the answer is; at its end save it and add it to the reply."""
        if step.position < step.total:
            self._status.progress("drawing", step.position, step.total)
            return
        self._status.clear()
        (picture,) = step.images()
        if reply.content and isinstance(reply.content[-1], str):
            print(flush=True)
        reply.show(picture.codes, self._write(picture))

    def _add(
        self,
        said: dict[str, Any],
        text: str,
        reply: list[str | np.ndarray],
        files: list[dict[str, str]],
        shown: dict[str, str],
    ) -> None:
        """Put a turn of the user and the model's into the conversation."""
        self._messages += [said, {"role": "assistant", "content": reply}]
        plain = files[0].get("text") if len(files) == 1 else None
        self._saved += [
            {"role": "user", "content": text, **shown},
            {"role": "assistant", "content": files if plain is None else plain},
        ]

    def _note(self, prompt: str) -> None:
        """Tell once what the model is for, when a prompt has no word that it knows."""
        if not self._noted and (note := self._liquid.config.note_for(prompt)):
            self._status.say(note)
            self._noted = True

    def _write(self, picture: GeneratedImage) -> Path:
        """Save a picture of an answer under a free name, and tell where it is."""
        settings = picture.settings
        if not self._writes:
            return Path()
        (path,) = picture_paths(DEFAULT_NAME, [(settings.prompt, settings.seed)])
        stem, number = path.stem, 0
        while path.exists():
            number += 1
            path = path.with_name(f"{stem}-{number}.png")
        picture.save(path)
        if self._status.live and sys.stdout.isatty():
            preview = Preview(settings.width, settings.height)
            if preview.active:
                preview.show(picture.image)
        print(path, flush=True)
        return path

    def _image(self, name: str) -> None:
        if not name:
            raise UsageError("/image needs a file or a URL.")
        name = name.strip("'\"")
        self._shown = name, self._liquid.encode(Source(name).read(), exif=self._exif)
        self._status.say(f"{name} is attached to your next message")

    def _draw(self, prompt: str) -> None:
        if not prompt:
            raise UsageError("/draw needs a prompt.")
        self._note(prompt)
        seed = self._sampling["seed"]
        if seed is None:
            seed = random.SystemRandom().randrange(2**32)
        task = Draw([prompt], [seed], picture_paths(DEFAULT_NAME, [(prompt, seed)]))
        how = OutputOptions(settings={}, preview=self._writes, overwrite=True, write=self._writes)
        (drawn,) = draw(self._liquid, task, how, self._status)
        self._status.say(summary(drawn))
        if not (self._status.live and sys.stdout.isatty()):
            print(drawn.path, flush=True)
        if self._liquid.config.interleaved:
            said = {"role": "user", "content": prompt}
            self._add(said, prompt, [drawn.picture.codes], [{"image": str(drawn.path)}], {})
        else:  # a model that never saw a picture in an answer knows it in a message
            self._shown = str(drawn.path), drawn.picture.codes

    def _save(self, name: str) -> None:
        if not name:
            raise UsageError("/save needs a file.")
        if not self._writes:
            return
        path = user_path(name)
        check_free([path], overwrite=False)
        text = to_json({"messages": self._saved}, indent=2)
        atomic_write(path, text + "\n", overwrite=False)
        self._status.say(f"{path}  {len(self._saved)} messages")

    def _reset(self, rest: str) -> None:
        self._messages, self._saved, self._shown = [], [], None
