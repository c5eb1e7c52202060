"""The `aae` command: its sub-commands, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from types import FrameType

import typer

from aae_toolkit import __version__
from aae_toolkit.cli import bench, demo, doctor, evaluate, export, init_datasets, parity, predict, train, visualize
from aae_toolkit.errors import AaeError
from aae_toolkit.memory import is_out_of_memory

app = typer.Typer(
    name="aae",
    help="Adversarial autoencoder classifiers from few labels or none: train, export, prove, measure, deploy.",
    epilog="Any command takes --debug, which shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its boxes cut long flags short on narrow terminals
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (init_datasets, train, evaluate, visualize, export, parity, bench, predict, doctor, demo):
    module.register(app)

# What brings a package that only some commands need.
_EXTRAS = dict.fromkeys(
    ("torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "jinja2", "safetensors"),
    "train,cpu",
) | {"onnxruntime": "cpu"}

_INTERRUPTED = 130  # what Typer makes of Ctrl-C
_TERMINATED = 128 + signal.SIGTERM

# What the machine refuses, whatever the command: no fault of the program.
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is half written goes."""

    came = False


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


def main(arguments: list[str] | None = None) -> None:
    """Run `aae` with `arguments` (default: the process's), and exit with the status that the contract gives."""
    given = sys.argv[1:] if arguments is None else arguments
    _Terminated.came = False
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(run([a for a in given if a != "--debug"], debug="--debug" in given))
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> None:
    _Terminated.came = True
    raise _Terminated


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run `aae` with `arguments`; return the exit status. `debug` lets exceptions through."""
    try:
        result = app(arguments, prog_name="aae", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # no command given: the help is the answer
            typer.echo(message)
            return error.exit_code
        return _fail(message, error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error, debug)
    except KeyboardInterrupt:
        return _interrupted()
    if result == _INTERRUPTED:
        return _interrupted()
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    return _fail("terminated", _TERMINATED) if _Terminated.came else _fail("interrupted", _INTERRUPTED)


def _explain(error: Exception, debug: bool) -> int:
    """One line for an exception, and its status."""
    if isinstance(error, AaeError):
        return _fail(str(error), error.exit_status)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return _fail(
            f'{error.name} is not installed; this command needs: pip install "aae-toolkit[{_EXTRAS[error.name]}]"', 1
        )
    if _was_interrupted(error):
        return _interrupted()
    if is_out_of_memory(error):
        return _fail("out of memory; this command needs more than is free", 1)
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return _fail(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}", 1)
    hint = "" if debug else "; --debug shows the traceback"
    return _fail(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}{hint}", 1)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt is behind an exception: exporters and C++ raise one of their own where Ctrl-C meets them."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(message: str, status: int) -> int:
    """Print one line on standard error, and return the status."""
    print(f"aae: {' '.join(message.split())}", file=sys.stderr)
    return status
