"""Help of `aae predict`, which argparse parses, in the form of all other commands; imports little."""

from __future__ import annotations

from argparse import Action, HelpFormatter
from collections.abc import Iterable

_SECTIONS = {"positional arguments": "Arguments", "options": "Options"}  # argparse's titles


class PlainHelp(HelpFormatter):
    """Formatter with Typer's titles, and with the value of a flag named once."""

    def start_section(self, heading: str | None) -> None:
        """Begin a section under its title."""
        super().start_section(_SECTIONS.get(heading or "", heading))

    def add_usage(
        self, usage: str | None, actions: Iterable[Action], groups: Iterable[object], prefix: str | None = None
    ) -> None:
        """Begin with the usage line."""
        super().add_usage(usage, actions, groups, "Usage: ")  # type: ignore[arg-type]

    def _format_action_invocation(self, action: Action) -> str:
        return flag_and_value(action)


def flag_and_value(action: Action) -> str:
    """Return the names of a flag, the short one first, with its value: `-o, --output FILE`."""
    if not action.option_strings:
        return str(action.metavar)
    names = ", ".join(sorted(action.option_strings, key=len))
    if action.nargs == 0:
        return names
    return f"{names} {action.metavar or '|'.join(action.choices or ())}"
