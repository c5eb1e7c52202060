"""Typer's classes with the habits of `aae`: sections in the help, plain words, and longer names of flags."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from aae_toolkit.cli.names import COMMANDS, LONGER, SECTIONS, SEED, renamed
from aae_toolkit.errors import UsageError

_OUTPUT = ("-o", "--output", *(longer for longer, name in LONGER.items() if name == "--output"))
_WORDS = {"int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER"}
_ERRORS = {
    "Value error, ": "",
    r"Input should be greater than or equal to (\S+)": r"give \1 or more",
    r"Input should be less than or equal to (\S+)": r"give \1 or less",
    "Input should be a valid integer, .*": "give a whole number",
    "Input should be a valid number, .*": "give a number",
}
_BRACKETS = re.compile(r"<(?:list\[)?([^<>\]]*)\]?>$")  # around a type, after the names of a flag
_RANGE = re.compile(r"(?:(\S+)<=)?\bx(?:([<>])=(\S+?))?(?=[;\]])")  # in square brackets, as 1<=x<=3 or x>=1


class Command(TyperCommand):
    """Command that takes flags by their longer names too, and its first argument as a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` after renaming."""
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        first = next((f"--{p.name}" for p in self.params if p.param_type_name == "argument"), None)
        args = renamed(_resumed(args) if "--resume" in known else args, known if first is None else {*known, first})
        return super().parse_args(ctx, args if first is None else _first(args, first))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line, without braces around arguments."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and flags in sections, whose titles are Typer's `rich_help_panel`."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            section = getattr(parameter, "rich_help_panel", None) or usual
            if (record := help_record(parameter, ctx)) is not None:
                sections.setdefault(section, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """Commands of `aae`, in the order of the pipeline."""

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        """Sort the commands; Typer has groups last."""
        super().__init__(commands={name: commands[name] for name in COMMANDS if name in commands}, **attributes)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each section of commands under its title."""
        width = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            there = [(name, self.commands[name]) for name in names if name in self.commands]
            if there:
                with formatter.section(title):
                    rows = [(name.ljust(width), command.get_short_help_str(formatter.width)) for name, command in there]
                    formatter.write_dl(rows)


def help_record(parameter: Any, context: Any) -> tuple[str, str] | None:
    """Return the names of a parameter and its help, in plain words; None if it is hidden."""
    record = parameter.get_help_record(context)
    if record is None:
        return None
    names, text = record
    before, bracket, notes = text.rpartition("  [")
    if bracket or text.startswith("["):
        notes = _RANGE.sub(_in_words, notes).replace("; ]", "]").replace(".0]", "]").replace(".0;", ";")
        text = f"{before}{bracket}{notes}".removesuffix("  []")
    if parameter.param_type_name == "argument":
        return names.split(" <")[0], text
    return _BRACKETS.sub(lambda found: _WORDS.get(found[1], found[1]), names), text


def _in_words(bounds: re.Match[str]) -> str:
    """Say a range, and nothing for numbers of 0 or more."""
    low, sign, limit = bounds.groups()
    if low is not None:
        return f"{low} to {limit}"
    if sign == "<":
        return f"at most {limit}"
    return "" if limit == "0" else f"at least {limit}"


def error_in_words(message: str) -> str:
    """Return a message of Typer about a value without pydantic's words."""
    for pattern, words in _ERRORS.items():
        message = re.sub(pattern, words, message)
    return message


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
    """Have `app` and the groups in it build their commands from `Command`."""
    for info in app.registered_commands:
        info.cls = Command if info.cls is TyperCommand else info.cls
    for group in app.registered_groups:
        if group.typer_instance is not None:
            use_own_classes(group.typer_instance)
