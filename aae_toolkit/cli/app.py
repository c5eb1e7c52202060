"""The `aae` command: its sub-commands, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from aae_toolkit import __version__
from aae_toolkit.errors import AaeError

# Each is a module beside this one.
COMMANDS = (
    "init-datasets",
    "train",
    "evaluate",
    "visualize",
    "export",
    "parity",
    "bench",
    "predict",
    "doctor",
    "demo",
)

# What brings a package that only some commands need.
_EXTRAS = dict.fromkeys(
    ("torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "jinja2", "safetensors"),
    "train,cpu",
) | {"onnxruntime": "cpu"}

_INTERRUPTED = 130  # what Typer makes of Ctrl-C
_PIPE_CLOSED = 141  # what shells give a program that wrote to a reader that was gone, as in `aae ... | head`


def application(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these of its commands; only their modules are imported."""
    app = typer.Typer(
        name="aae",
        help="Adversarial autoencoder classifiers from few labels or none: train, export, prove, measure, deploy.",
        epilog="Any command takes --debug, which shows the traceback of an error.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # its boxes cut long flags short on narrow terminals
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for command in commands:
        import_module(f"aae_toolkit.cli.{command.replace('-', '_')}").register(app)
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


def main(arguments: list[str] | None = None) -> None:
    """Run `aae` with `arguments` (default: the process's), and exit with the status that the contract gives."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(run([a for a in given if a != "--debug"], debug="--debug" in given))


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run `aae` with `arguments`; return the exit status. `debug` lets exceptions through."""
    asked = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    try:
        result = application(asked)(arguments, prog_name="aae", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # no command given: the help is the answer
            typer.echo(message)
            return error.exit_code
        return _fail(message, error.exit_code)
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):  # of which Typer makes a silent exit
            raise
        return _PIPE_CLOSED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return _PIPE_CLOSED
    except Exception as error:
        return _explain(error, debug=debug)
    if result == _INTERRUPTED:
        return _fail("interrupted", _INTERRUPTED)
    return result if isinstance(result, int) else 0


def _explain(error: Exception, *, debug: bool) -> int:
    """Print one line on standard error, after the traceback where it is asked for; return the exit status."""
    if debug:
        import traceback

        traceback.print_exc()
    if isinstance(error, AaeError):
        return _fail(str(error), error.exit_status)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return _fail(
            f'{error.name} is not installed; this command needs: pip install "aae-toolkit[{_EXTRAS[error.name]}]"',
            1,
        )
    hint = "" if debug else "; --debug shows the traceback"
    return _fail(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}{hint}", 1)


def _fail(message: str, status: int) -> int:
    """Print one line on standard error, and return the status."""
    print(f"aae: {' '.join(message.split())}", file=sys.stderr)
    return status
