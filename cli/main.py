"""The ``liquid`` command: what it knows, and how it ends."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from liquid_mlx._version import __version__
from liquid_mlx.errors import LiquidError

from .commands import (
    ask,
    bench,
    caption,
    chat,
    codes,
    convert,
    generate,
    info,
    models,
)

EXIT_CODES = """\
Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 some of many inputs failed, 130 Ctrl-C.
"""


class Commands(TyperGroup):
    """Turns the errors that users cause into one sentence and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
            raise
        except LiquidError as error:
            message = str(error)
        except MemoryError:
            message = "There is not enough memory: use a smaller model, or fewer pictures at once."
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message = f"{where}{error.strerror or error}."
        from .terminal import one_line

        print(f"liquid: {one_line(message)}", file=sys.stderr)
        raise typer.Exit(1)


app = typer.Typer(
    name="liquid",
    help="Draw pictures, ask questions about them, and chat: Liquid models on MLX.",
    epilog=EXIT_CODES,
    cls=Commands,
    rich_markup_mode=None,  # plain help: rich would double its cost
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("ask")(ask.ask)
app.command("caption")(caption.caption)
app.command("chat")(chat.chat)
app.command("encode")(codes.encode)
app.command("decode")(codes.decode)
app.command("convert")(convert.convert)
app.command("bench")(bench.bench)
app.command("models")(models.models)
app.command("info")(info.info)
app.command("bench")(bench.bench)


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
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # text from outside may not fit the locale
    app(prog_name="liquid")
