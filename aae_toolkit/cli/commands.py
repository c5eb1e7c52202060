"""Commands of `aae`, in Typer."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer

from aae_toolkit import __version__
from aae_toolkit.cli.parsing import as_in_seed, use_own_classes
from aae_toolkit.config import DEFAULT_CONFIG
from aae_toolkit.errors import UsageError

# Each command is a module in this folder.
COMMANDS = (
    "init-datasets",
    "train",
    "tune",
    "evaluate",
    "visualize",
    "name-categories",
    "export",
    "parity",
    "verify",
    "bench",
    "web",
    "report",
    "predict",
    "doctor",
    "demo",
)

# Scripts of the seed document, with the command that each runs.
SEED_COMMANDS = {
    "init_datasets": ("init-datasets",),
    "train_semi_supervised": ("train", "semi-supervised"),
    "train_unsupervised": ("train", "unsupervised"),
    "generate_model_visualization": ("visualize",),
}

# Flags that became commands, by the command that had them.
_MOVED = {
    ("export", "--verify"): "aae verify EXPORT",
    ("export", "--trust"): "aae verify EXPORT --trust",
    ("export", "--web"): "aae web EXPORT DIR",
    ("export", "--export"): "aae web EXPORT DIR",
    ("export", "--export-dir-path"): "aae web EXPORT DIR",
    ("export", "--web-runtime"): "aae web EXPORT DIR --web-runtime FILE",
}
_HELP = {"help_option_names": ["-h", "--help"]}
_INTERRUPTED = 130  # Typer's exit status after Ctrl-C


def run_command(arguments: list[str]) -> int:
    """Run `aae` with `arguments`; return the exit status.

    Raises:
        UsageError: arguments that Typer refuses.
    """
    requested = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    return _run(typer.main.get_command(application(requested)), arguments, "aae")


def run_seed_command(program: str, arguments: list[str]) -> int:
    """Run a script of the seed document with `arguments`; return the exit status.

    Raises:
        UsageError: arguments that Typer refuses.
    """
    if arguments in (["--version"], ["-V"]):
        typer.echo(__version__)
        return 0
    name, *variant = SEED_COMMANDS[program]
    command: Any = typer.main.get_command(application([name])).commands[name]  # type: ignore[attr-defined]
    command = command.commands[variant[0]] if variant else command
    command.context_settings |= _HELP
    as_in_seed(command, DEFAULT_CONFIG)
    return _run(command, arguments, program)


def _run(command: Any, arguments: list[str], program: str) -> int:
    try:
        result = command(arguments, prog_name=program, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        if not message.startswith("Usage:"):
            raise UsageError(f"{message}{_moved(arguments, message)}") from error
        typer.echo(message)  # no command given: the message is the help
        return error.exit_code
    if result == _INTERRUPTED:
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _moved(arguments: list[str], message: str) -> str:
    """Name the command that a flag became, if Typer's message is about such a flag."""
    for (command, flag), now in _MOVED.items():
        if arguments[:1] == [command] and message.split(" (")[0] == f"No such option: {flag}":
            return f"; it is a command now: {now}"
    return ""


def application(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the command line with these commands; imports no other command's module."""
    app = typer.Typer(
        name="aae",
        help="Train, export, verify, measure and deploy adversarial autoencoder classifiers, from few labels or none.",
        epilog="Every command takes --debug, which prints the traceback of an error.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # its boxes truncate long flags on narrow terminals
        context_settings=_HELP,
    )
    app.callback()(_root)
    for command in commands:
        import_module(f"aae_toolkit.cli.{command.replace('-', '_')}").register(app)
    use_own_classes(app)
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""
