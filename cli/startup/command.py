"""A command of ``liquid``: the user's own defaults, and errors that say what was meant."""

from __future__ import annotations

import math
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from liquid_mlx.errors import UsageError

from .. import together
from . import hints, settings

# A wrong command line; its own name is in another module with every version of typer.
CommandLineError: Any = typer.BadParameter.__base__


class Command(TyperCommand):
    """One command; arguments that cannot be combined end it as the parser's own errors do."""

    def make_parser(self, ctx: Any) -> Any:
        """``-q`` is ``--quiet`` wherever it was so before, and stands in no help: see convert."""
        parser = super().make_parser(ctx)
        names: dict[str, Any] = {name: param for param in self.params for name in param.opts}
        if "--quiet" in names and "-q" not in names:
            quiet = names["--quiet"]
            parser.add_option(quiet, ["-q"], quiet.name, action="store_const", const=True)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        own: dict[str, settings.Setting] = {}
        if not ctx.resilient_parsing and not {"-h", "--help"} & set(typed):
            name = self.name or ""
            root = ctx.find_root().command
            commands = root.commands if isinstance(root, TyperGroup) else (name,)
            own = settings.defaults(name, self, commands)
            ctx.default_map = {name: setting.value for name, setting in own.items()}
        try:
            rest: list[str] = super().parse_args(ctx, args)
            self._refuse_nan(ctx)
            return rest
        except CommandLineError as error:
            error.message = self._explained(ctx, error, typed, own)
            error.possibilities = None  # what the parser would add to it
            raise

    def _refuse_nan(self, ctx: Any) -> None:
        """Of an option with a range: the parser's comparisons let it through."""
        params: list[Any] = list(self.params)
        for param in params:
            value = ctx.params.get(param.name)
            # With some versions of typer the option itself has the range, with others its type.
            limits = (getattr(part, "min", None) for part in (param, getattr(param, "type", None)))
            ranged = any(limit is not None for limit in limits)
            if ranged and isinstance(value, float) and math.isnan(value):
                raise typer.BadParameter("nan is not a number.", ctx=ctx, param=param)

    def _explained(
        self, ctx: Any, error: Any, typed: list[str], own: dict[str, settings.Setting]
    ) -> str:
        message = str(error.message or "").rstrip()
        param = getattr(error, "param", None)
        if param is not None and param.name in own and not given(ctx, param.name):
            return hints.joined(message, f"It is set by {own[param.name].source}.")
        hint = ""
        if option := getattr(error, "option_name", ""):
            hint = hints.for_option(option, [o for p in self.params for o in p.opts], typed)
        elif self.name == "chat" and "unexpected extra argument" in message:
            hint = f"Chat reads lines: echo {hints.quoted(typed)} | liquid chat."
        elif self.name == "convert" and typed and not typed[0].startswith("-"):
            hint = f"Did you mean `--hf-path {typed[0]:.60}`?"
        return hints.joined(message, hint)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if together.said_elsewhere(error):
                raise typer.Exit(2) from None
            ctx.fail(str(error))


def given(ctx: Any, name: str) -> bool:
    """Whether an option stands on the command line, and not in a file or a variable."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
