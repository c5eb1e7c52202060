"""Typer's classes with the habits of `aae`: longer names of flags work too, though help does not show them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from aae_toolkit.cli.names import LONGER, SEED, renamed
from aae_toolkit.errors import UsageError

_OUTPUT = ("-o", "--output", *(longer for longer, name in LONGER.items() if name == "--output"))


class Command(TyperCommand):
    """Command that takes flags by their longer names too, and its first argument as a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` after renaming."""
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        first = next((f"--{p.name}" for p in self.params if p.param_type_name == "argument"), None)
        args = renamed(_resumed(args) if "--resume" in known else args, known if first is None else {*known, first})
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


def resumed_directory(arguments: list[str]) -> str | None:
    """Return the directory that stands behind --resume; None if there is none."""
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=False):
        flag, sign, value = word.partition("=")
        if flag == "--resume":
            return value if sign else None if following.startswith("-") else following
    return None


def _resumed(arguments: list[str]) -> list[str]:
    """Return `arguments` with `--resume MODEL` written as `--resume --output MODEL`."""
    if (directory := resumed_directory(arguments)) is None:
        return arguments
    if any(word.partition("=")[0] in _OUTPUT for word in arguments):
        raise UsageError(f"--resume {directory} names the model directory already; leave --output out")
    i = next(i for i, word in enumerate(arguments) if word.partition("=")[0] == "--resume")
    n_words = 1 if "=" in arguments[i] else 2
    return [*arguments[:i], "--resume", "--output", directory, *arguments[i + n_words :]]


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
