"""Defaults of the user's own: the config file and ``LIQUID_*`` variables. Flags win over both."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.errors import FileError
from liquid_mlx.files import user_path

from ..outputs import DEFAULT_NAME

# Settings of every command that has such an option, with what they are without the user; the others
# stand in the command's section.
SHARED = {
    "model": "demo",
    "output_folder": ".",
    "preview": "where it can",
    "open": "no",
    "scale": "1",
    "dtype": "the model's",
    "quiet": "no",
}
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Setting:
    """A value, and the variable or file that it is from."""

    value: Any
    source: str


def config_path() -> Path:
    """The config file: ``$LIQUID_CONFIG``, or ``~/.config/liquid-mlx/config.toml``."""
    if path := os.environ.get("LIQUID_CONFIG"):
        return user_path(path)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(home), "liquid-mlx", "config.toml")


def read_config(path: Path) -> dict[str, Any]:
    """What the file says; nothing if it is not there.

    Raises:
        FileError: it cannot be read, or is not TOML.
    """
    if not path.is_file():
        return {}
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileError(f"{path} is larger than {MOST_BYTES >> 20} MiB.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number of 5000 digits
        raise FileError(f"{path} is not a TOML file ({error}).") from None


def check(values: Mapping[str, Any], commands: Collection[str], path: Path) -> None:
    """Raise FileError unless every name is a shared setting or the section of a command."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            if name not in commands:
                raise FileError(f"{path}: there is no command {name!r}{_close(name, commands)}.")
        elif name not in SHARED:
            raise FileError(
                f"{path}: there is no setting {name!r} for all commands{_close(name, SHARED)}: "
                "`liquid config` lists them; others stand below [generate], [ask], ..."
            )


def _close(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def options_of(command: Any) -> dict[str, Any]:
    """The options of a Click command that may be set, by the names of the settings.

    Not among them are those that may be repeated, and those that end the command.
    """
    found = {}
    for param in command.params:
        if param.param_type_name == "option" and not param.multiple and not param.is_eager:
            name = max(param.opts, key=len).lstrip("-").replace("-", "_")
            found[name] = param
    return found


def settings(
    name: str, command: Any, values: Mapping[str, Any], path: Path
) -> Iterator[tuple[str, Any, Setting]]:
    """Each setting for a command that is not the default: its name, its option, its value.

    The first counts of: LIQUID_COMMAND_NAME, LIQUID_NAME, the command's section, the rest of the
    file.

    Raises:
        FileError: the command's section has a setting that the command does not have.
    """
    options = options_of(command)
    section = values.get(name, {})
    for key in section:
        if key not in options:
            raise FileError(f"{path}: [{name}] has no setting {key!r}{_close(key, options)}.")
    output = options.get("output")
    if output is not None and output.default == DEFAULT_NAME:
        options["output_folder"] = output
    for key, option in options.items():
        variables = [f"LIQUID_{name}_{key}".upper()]
        if key in SHARED:
            variables.append(f"LIQUID_{key}".upper())
        set_variables = [variable for variable in variables if os.environ.get(variable)]
        if set_variables:
            found = Setting(os.environ[set_variables[0]], set_variables[0])
        elif key in section:
            found = Setting(section[key], f"{path} [{name}]")
        elif key in SHARED and key in values:
            found = Setting(values[key], str(path))
        else:
            continue
        if not isinstance(found.value, str | int | float):
            raise FileError(f"{found.source}: {key} is one text, number, true or false.")
        yield key, option, found


def defaults(name: str, command: Any, commands: Collection[str]) -> dict[str, Setting]:
    """The values of a command's options, by the names of its parameters, that are set for it."""
    path = config_path()
    values = read_config(path)
    check(values, commands, path)
    found: dict[str, Setting] = {}
    for key, option, setting in settings(name, command, values, path):
        if key == "output_folder":
            if option.name in found:  # the command's own "output" says more
                continue
            folder = str(setting.value).rstrip("/") or "/"
            setting = Setting(f"{folder}/", setting.source)
        found[option.name] = setting
    return found
