"""Typer's classes with the habits of `aae`: longer names of flags work too, though help does not show them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from aae_toolkit.cli.names import SEED, renamed


class Command(TyperCommand):
    """Command that takes flags by their longer names too, and its first argument as a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` after renaming."""
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        first = next((f"--{p.name}" for p in self.params if p.param_type_name == "argument"), None)
        args = renamed(args, known if first is None else {*known, first})
        return super().parse_args(ctx, args if first is None else _first(args, first))


def _first(arguments: list[str], flag: str) -> list[str]:
    """Return `arguments` with the value of `flag` in first place, where an argument stands."""
    for i, word in enumerate(arguments):
        name, sign, value = word.partition("=")
        if name == flag and sign:
            return [value, *arguments[:i], *arguments[i + 1 :]]
        if name == flag and i + 1 < len(arguments):
            return [arguments[i + 1], *arguments[:i], *arguments[i + 2 :]]
    return arguments


def as_in_seed(command: Any, config: str) -> None:
    """Give a command the seed document's flags.

    Args:
        command: a command of `aae`.
        config: its default configuration.
    """
    for parameter in command.params:
        parameter.opts = [SEED.get(name, name) for name in parameter.opts]
        parameter.hidden = False
        if "--config-path" in parameter.opts:
            parameter.default = config


def use_own_classes(app: typer.Typer) -> None:
    """Have `app` and the groups in it build their commands from the classes of this module."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            use_own_classes(group.typer_instance)
