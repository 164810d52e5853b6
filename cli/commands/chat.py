"""``liquid chat``: a conversation, with images."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from liquid_mlx.display import to_json
from liquid_mlx.errors import LiquidError, UsageError
from liquid_mlx.files import atomic_write, user_path

from .. import options
from ..drawing import Draw, OutputOptions, draw, summary
from ..inputs import Source
from ..outputs import DEFAULT_NAME, check_free, picture_paths
from ..preview import Preview
from ..terminal import Status, clean

if TYPE_CHECKING:
    import numpy as np

    from liquid_mlx.model import Liquid
    from liquid_mlx.results import GeneratedImage

HELP = """\
/image FILE   attach an image to your next message
/draw PROMPT  generate an image, written to this folder, for the model to see
/save FILE    save the conversation as JSON
/reset        start over
/help         show this list
/quit         quit (or Ctrl-D)"""


def chat(
    model: options.Model = "demo",
    adapter: options.Adapter = None,
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
        liquid = options.load_model(model, status, dtype=dtype, adapter=adapter)
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

        self._note(text)
        file, codes = self._shown or (None, None)
        said = {"role": "user", "content": text if codes is None else [codes, text]}
        reply: list[str | np.ndarray] = []
        files: list[dict[str, str]] = []
        try:
            for step in self._liquid.stream_chat([*self._messages, said], **self._sampling):
                if isinstance(step, TextStep):
                    print(clean(step.text), end="", flush=True)
                    if not reply or not isinstance(reply[-1], str):
                        reply.append("")
                        files.append({"text": ""})
                    reply[-1] += step.text
                    files[-1]["text"] += step.text
                elif step.position == step.total:
                    self._status.clear()
                    (picture,) = step.images()
                    if reply and reply[-1]:
                        print(flush=True)
                    files.append({"image": str(self._write(picture))})
                    reply.append(picture.codes)
                else:
                    self._status.progress("drawing", step.position, step.total)
        finally:  # an answer that was cut short stays in the conversation as far as it came
            self._status.clear()
            parts = [i for i, part in enumerate(reply) if not isinstance(part, str) or part]
            if parts:
                if isinstance(reply[-1], str) and reply[-1]:
                    print(flush=True)
                shown = {"image": file} if file else {}
                content = [reply[i] for i in parts]
                self._add(said, text, content, [files[i] for i in parts], shown)
                self._shown = None
        if not parts:
            self._status.say("(no answer)")

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
        how = OutputOptions(settings={}, preview=True, overwrite=True)
        (drawn,) = draw(self._liquid, task, how, self._status)
        self._status.say(summary(drawn))
        if not (self._status.live and sys.stdout.isatty()):
            print(drawn.path, flush=True)
        said = {"role": "user", "content": prompt}
        self._add(said, prompt, [drawn.picture.codes], [{"image": str(drawn.path)}], {})

    def _save(self, name: str) -> None:
        if not name:
            raise UsageError("/save needs a file.")
        path = user_path(name)
        check_free([path], overwrite=False)
        text = to_json({"messages": self._saved}, indent=2)
        atomic_write(path, text + "\n", overwrite=False)
        self._status.say(f"{path}  {len(self._saved)} messages")

    def _reset(self, rest: str) -> None:
        self._messages, self._saved, self._shown = [], [], None
