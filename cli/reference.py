"""The reference of every command: ``docs/cli.md``, which ``python -m benchmarks.docs`` writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .main import COMMANDS, EXIT_CODES, load_command

HEADER = f"""\
# Commands

Generated from the commands by `python -m benchmarks.docs`; a test keeps it current.

Results go to stdout; progress, summaries and errors go to stderr. In a pipe there is no progress
and no colour, and rows are tab-separated. Control characters in the text of models and files are
removed, in JSON they are escaped; errors repeat no more than the beginning and the end of what is
long.

{EXIT_CODES.strip()}

| Variable | Meaning |
|---|---|
| `LIQUID_MODEL` | the model to use without `--model` |
| `LIQUID_OUTPUT_FOLDER`, `LIQUID_PREVIEW`, ... | other [defaults of your own](settings.md) |
| `LIQUID_CONFIG` | another config file |
| `HF_HOME` | the folder of the Hugging Face cache |
| `HF_HUB_OFFLINE` | set to 1, the cache is used without network access |
| `NO_COLOR` | no colours, and no preview in coloured blocks |
| `COLUMNS` | the width of tables and of the progress line |

Every command has `-h`/`--help`; `liquid --version` prints the version. For bash, zsh and fish,
`liquid --install-completion` installs completion, and `liquid --show-completion` prints the script.
"""


def reference() -> str:
    """The whole page, as Markdown."""
    commands = [pair for name in COMMANDS for pair in _all(name, load_command(name))]
    parts = ["\n".join(_command(name, command)) for name, command in commands]
    return "\n".join([HEADER, *parts])


def _all(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or the commands of a group."""
    if not hasattr(command, "commands"):
        yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from _all(f"{name} {inner.name}", inner)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, "[OPTIONS]", *map(_argument, arguments)])
    yield f"## liquid {name}\n"
    yield " ".join(command.help.split("\n\n")[0].split()) + "\n"
    yield f"```\nliquid {usage}\n```\n"
    if arguments:
        yield "| Argument | Meaning |\n|---|---|"
        yield from (f"| `{_cell(_argument(a))}` | {_cell(a.help or '')} |" for a in arguments)
        yield ""
    yield "| Option | Meaning | Default |\n|---|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        value = f" {_cell(option.metavar)}" if option.metavar else ""
        yield f"| {names}{value} | {_cell(option.help or '')} | {_default(option)} |"
    yield ""


def _argument(argument: Any) -> str:
    name = argument.metavar if argument.required else f"[{argument.metavar}]"
    return f"{name}..." if argument.nargs == -1 else str(name)


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return _cell(option.show_default)
    if option.default is None or isinstance(option.default, bool):
        return "on" if option.default else ""
    return f"`{_cell(str(option.default))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
