"""The `aae` command, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import gc
import os
import sys

from aae_toolkit.errors import AaeError

# What brings a package that only some commands need.
_EXTRAS = dict.fromkeys(
    ("torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "jinja2", "safetensors"),
    "train,cpu",
) | {"onnxruntime": "cpu", "ray": "cpu,ray", "pyarrow": "cpu,ray"}

# What shells give a program that ended by a signal:
INTERRUPTED = 130  # Ctrl-C
_PIPE_CLOSED = 141  # the reader of its output is gone, as in `aae ... | head`


def main(arguments: list[str] | None = None) -> None:
    """Run `aae` with `arguments` (default: the process's), and exit with the status that the contract gives."""
    given = sys.argv[1:] if arguments is None else arguments
    status = run([a for a in given if a != "--debug"], debug="--debug" in given)
    gc.freeze()  # the system frees what is left: Python's last collection takes a third as long as importing it all
    sys.exit(status)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run `aae` with `arguments`; return the exit status. `debug` shows tracebacks."""
    try:
        status = _command(arguments)
        sys.stdout.flush()
    except SystemExit as stopped:
        # A closed pipe of which Typer made a silent exit, or the end of the help.
        return _PIPE_CLOSED if isinstance(stopped.__context__, BrokenPipeError) else int(stopped.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        return _explain(error, debug=debug)
    return status


def _command(arguments: list[str]) -> int:
    """Run a sub-command; return its exit status."""
    if arguments[:1] == ["predict"]:  # without Typer, which takes as long to import as ONNX Runtime (decision 14)
        from aae_toolkit.cli.predict import predict

        predict(arguments[1:])
        return 0
    from aae_toolkit.cli.commands import run_command

    return run_command(arguments)


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
