"""The ``liquid`` command: which commands there are, and how they end."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from liquid_mlx._version import __version__
from liquid_mlx.display import sentence
from liquid_mlx.errors import LiquidError, lost_peer

from . import together
from .startup import hints
from .startup.command import Command, CommandLineError
from .terminal import open_streams, safe_output

EXIT_CODES = """\
Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 some of many inputs failed, 130 Ctrl-C.
"""

# A command is the function of its name in commands/MODULE.py, imported when it is called. Its line
# in `liquid --help` stands here and is the first sentence of its own help.
COMMANDS = {
    "generate": ("generate", "Generate images from prompts."),
    "edit": ("edit", "Redraw a part of a picture and keep the rest as it is."),
    "vary": ("edit", "Draw pictures that are like one."),
    "ask": ("ask", "Ask questions about images."),
    "caption": ("caption", "Describe images."),
    "chat": ("chat", "Chat with the model, line by line."),
    "serve": ("serve", "Serve models: an API in OpenAI's form, and a page in the browser."),
    "encode": ("codes", "Turn images into VQ codes."),
    "decode": ("codes", "Turn VQ codes back into images."),
    "convert": ("convert", "Convert a Liquid checkpoint from PyTorch."),
    "finetune": ("finetune", "Fine-tune a model on your images, questions and texts."),
    "fuse": ("fuse", "Merge adapters into a model."),
    "bench": ("bench", "Measure a model on this machine, or predict its speed on Apple's chips."),
    "evaluate": (
        "evaluate",
        "Measure a model: benchmarks, prompt sets, distances of pictures, and reports.",
    ),
    "compare": ("compare", "Compare two models on sequences that the first one draws."),
    "doctor": ("doctor", "Check that this machine computes what it should."),
    "distributed": (
        "distributed",
        "Plan what fits several machines, or measure their links.",
    ),
    "models": ("models", "List the models on this machine."),
    "info": ("info", "Describe a model, or show the settings inside a PNG."),
    "config": ("info", "Show the settings in force, and where each is from."),
}


@contextmanager
def _short_errors() -> Iterator[None]:
    """Errors of the parser repeat what was typed: on one line, and not all of it."""
    try:
        yield
    except CommandLineError as error:
        if error.ctx is None or error.message != error.ctx.get_help():  # of a bare command
            error.message = sentence(error.message)
        raise


class Commands(TyperGroup):
    """Loads a command when it is called, and turns users' errors into a sentence and an exit code.

    ``commands`` holds names and summaries alone, which is all that help and completion show.
    """

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        for name, (_, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary, short_help=summary))  # in full

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            hint = hints.for_command(args, self.commands)
            ctx.fail(hints.joined(f"There is no command {args[0]!r:.60}", hint))
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except CommandLineError as error:
            if getattr(error, "option_name", ""):
                own = [name for param in self.params for name in param.opts]
                hint = hints.for_option(error.option_name, own, ())
                error.message = hints.joined(
                    str(error.message), hint or "Options stand behind the command."
                )
                error.possibilities = None
            raise

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _short_errors():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _short_errors():
            return super().invoke(ctx)

    def main(self, *arguments: Any, **more: Any) -> Any:
        with safe_output():
            try:
                return super().main(*arguments, **more)
            except LiquidError as error:
                if together.said_elsewhere(error):
                    sys.exit(1)
                message = str(error)
            except ImportError as error:
                if "libmlx" not in str(error):
                    raise
                message = (
                    "MLX has no backend here: pip install 'mlx[cpu]', or 'mlx[cuda12]' for an "
                    "NVIDIA GPU."
                )
            except MemoryError:
                message = "There is not enough memory: use a smaller model or fewer images at once."
            except RuntimeError as error:
                lost = lost_peer(error)
                if lost is None:
                    raise
                message = str(lost)
            except UnicodeEncodeError as error:
                message = (
                    f"A name has a character that this system's encoding ({error.encoding}) does "
                    "not have: set LC_ALL=C.UTF-8."
                )
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                message = f"{where}{error.strerror or error}."
            message = together.named(message)
            print(f"liquid: {sentence(message)}", file=sys.stderr, flush=True)
        sys.exit(1)


def load_command(name: str) -> Any:
    """Import the module of a command; the result is its Click command."""
    module = importlib.import_module(f".commands.{COMMANDS[name][0]}", __package__)
    function: Callable[..., None] | typer.Typer = getattr(module, name)
    if isinstance(function, typer.Typer):  # a command with commands of its own
        return typer.main.get_command(function)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, cls=Command)(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="liquid",
    help="Generate images, ask questions about them, and chat: Liquid models on MLX.",
    epilog=EXIT_CODES,
    cls=Commands,
    rich_markup_mode=None,  # plain help: rich would double its cost
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"liquid-mlx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the application."""
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Text from outside may not fit the locale; what cannot be written shows at once.
            stream.reconfigure(errors="replace", line_buffering=True)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about a user's files: not for users
    app(prog_name="liquid")
