"""Shell completion: installing its script, printing it, and the completion of `aae predict`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import typer
from typer.core import CompletionItem  # type: ignore[attr-defined]

from aae_toolkit.cli.names import PROGRAM
from aae_toolkit.cli.parsing import Command
from aae_toolkit.errors import UsageError

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_VARIABLE = "_AAE_COMPLETE"  # of the environment, in which the script of a shell says what it asks for
INSTALL, SHOW = "--install-completion", "--show-completion"


def ready() -> None:
    """Let Typer answer shells that ask for completions."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def complete_shell(flag: str, shell: str | None) -> int:
    """Install or print the completion script of a shell; return the exit status.

    Args:
        flag: `--install-completion` or `--show-completion`.
        shell: name of the shell; None is the one that runs this process.

    Raises:
        UsageError: the shell is not known.
    """
    from typer import completion

    shell = shell or _this_shell()
    if shell not in SHELLS:
        found = "the shell cannot be told" if shell is None else f"there is no completion for {shell}"
        raise UsageError(f"{found}; name one: aae {flag} {'|'.join(SHELLS)}")
    if flag == INSTALL:
        _, path = completion.install(shell=shell, prog_name=PROGRAM, complete_var=_VARIABLE)  # type: ignore[attr-defined]
        typer.echo(f"completion for {shell} written to {path}; it works in new terminals")
    else:
        script = completion.get_completion_script(prog_name=PROGRAM, complete_var=_VARIABLE, shell=shell)  # type: ignore[attr-defined]
        typer.echo(script)
    return 0


def _this_shell() -> str | None:
    """Return the name of the shell that runs this process; None if there is none."""
    import shellingham

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return None
    return name


def completing(parser: Callable[[], ArgumentParser]) -> type[Command]:
    """Return the class of a command that argparse parses: it completes the flags of `parser`, and their choices."""

    class ParsedElsewhere(Command):
        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
            actions = {name: action for action in parser()._actions for name in action.option_strings}
            before = actions.get(ctx.args[-1]) if ctx.args else None
            if before is not None and before.nargs != 0:
                return [CompletionItem(choice) for choice in before.choices or () if choice.startswith(incomplete)]
            if not incomplete.startswith("-"):
                return []  # the shell completes files
            return [CompletionItem(name, help=a.help) for name, a in actions.items() if name.startswith(incomplete)]

    return ParsedElsewhere
