"""Entry point of `aae`: turns every error into one line and an exit status."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from types import FrameType

from aae_toolkit.cli.names import PROGRAM
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.errors import AaeError
from aae_toolkit.machine.memory import is_out_of_memory
from aae_toolkit.text import one_line

# Extras that install the packages which only some commands need.
_EXTRAS = dict.fromkeys(
    ("torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "jinja2", "safetensors"),
    "train,cpu",
) | {
    "timm": "train,cpu,timm",
    "onnxruntime": "cpu",
    "tensorboard": "tensorboard",
    "ray": "cpu,ray",
    "pyarrow": "cpu,ray",
    "optuna": "train,cpu,tune",
}

_LONGEST_LINE = 2000  # characters of an error message; a longer one quotes something absurd

# Errors of the machine, not of the program: reported without the hint to --debug.
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}

# Exit statuses of shells for programs ended by a signal:
_INTERRUPTED = 128 + signal.SIGINT  # Ctrl-C
_TERMINATED = 128 + signal.SIGTERM
_PIPE_CLOSED = 141  # SIGPIPE: the reader of the output is gone, as in `aae ... | head`


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; ends a command, which removes its half-written files."""

    signum = 0  # the signal received; 0: none


def main(arguments: list[str] | None = None, program: str = PROGRAM) -> None:
    """Run `program` with `arguments` (default: those of the process), and exit with its status."""
    given = sys.argv[1:] if arguments is None else arguments
    ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # by nohup, or for a background job
    taken = [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGINT]
    before = {signum: signal.signal(signum, _interrupt) for signum in taken}
    try:
        status = run([a for a in given if a != "--debug"], program, debug="--debug" in given)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _Interrupt.signum = 0
    if world_from_environment().size > 1:  # threads of torch.distributed can abort a process while Python ends
        sys.stderr.flush()
        os._exit(status)
    gc.freeze()  # skip Python's last collection, a third of the import time: the system frees the memory anyway
    sys.exit(status)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _Interrupt.signum = signum
    raise _Interrupt


def run(arguments: list[str], program: str = PROGRAM, *, debug: bool = False) -> int:
    """Run `aae`, or a script of the seed document, with `arguments`; return the exit status.

    `debug` prints tracebacks.
    """
    try:
        status = _command(arguments, program)
        sys.stdout.flush()
    except SystemExit as stopped:
        # Typer exits silently on a closed pipe, and after printing the help.
        return _PIPE_CLOSED if isinstance(stopped.__context__, BrokenPipeError) else int(stopped.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails to flush at exit
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if _Interrupt.signum:  # exporters and C++ code raise other exceptions when interrupted
            return _interrupted()
        if debug:
            import traceback

            traceback.print_exc()
        return _explain(error, debug)
    return status


def _command(arguments: list[str], program: str) -> int:
    """Run a command; return its exit status."""
    # `predict` runs without Typer, which takes as long to import as ONNX Runtime (decision 9).
    if program == PROGRAM and arguments[:1] == ["predict"]:
        from aae_toolkit.cli.predict import predict

        predict(arguments[1:])
        return 0
    from aae_toolkit.cli.commands import run_command, run_seed_command

    return run_command(arguments) if program == PROGRAM else run_seed_command(program, arguments)


def _interrupted() -> int:
    terminated = _Interrupt.signum == signal.SIGTERM
    return _fail("terminated", _TERMINATED) if terminated else _fail("interrupted", _INTERRUPTED)


def _explain(error: Exception, debug: bool) -> int:
    """Print one line for an exception; return its exit status."""
    if isinstance(error, AaeError):
        return _fail(str(error), error.exit_status)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return _fail(
            f'{error.name} is not installed; this command needs: pip install "aae-toolkit[{_EXTRAS[error.name]}]"', 1
        )
    if is_out_of_memory(error):
        return _fail("out of memory; this command needs more than is free", 1)
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return _fail(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}", 1)
    hint = "" if debug else "; --debug shows the traceback"
    return _fail(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}{hint}", 1)


def _fail(message: str, status: int) -> int:
    """Print one line on standard error, and return the status."""
    print(f"aae: {one_line(message, _LONGEST_LINE)}", file=sys.stderr)
    return status
