"""Worker process for one session, with its own threads and cores. It never outlives its parent."""

from __future__ import annotations

import functools
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from aae_toolkit.bench.session import Job, Session
from aae_toolkit.errors import AaeError
from aae_toolkit.machine.interrupts import interrupts_blocked

P = ParamSpec("P")
R = TypeVar("R")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Worker:
    """Handle of a worker process, which runs methods of `Session` one at a time; exit from the context kills it."""

    def __init__(self, job: Job) -> None:
        """Start the process, without loading the file yet."""
        context = get_context("spawn")  # a forked child would inherit loaded libraries
        self._job = job
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, job), daemon=True)
        variables = dict.fromkeys(_THREAD_VARIABLES, str(job.threads))
        variables["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # a higher number starts child processes
        with _environment(variables), interrupts_blocked():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        """Return the handle of the running process."""
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Kill the process, which has nothing to save."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def call(self, method: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a method of the session in the process, and return its result.

        Raises:
            AaeError: the method raised an error, of the same class where it is an `AaeError`, or the process died.
        """
        try:
            self._connection.send((method, args, kwargs))
            answer: Any = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            runnable, how = self._job.runnable, _how_it_ended(self._process.exitcode)
            doing = f"while {runnable.backend} ran {runnable.file} ({method.__name__})"
            raise AaeError(f"the measuring process {how} {doing}; is there enough memory?") from error
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


def _answer(requests: Connection, job: Job) -> None:
    """Answer requests in the child process, one after another, until the parent ends."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    pin_to_cores(job.threads)
    session = Session(job)
    with suppress(EOFError, OSError):  # raised once the parent closes its end
        while True:
            method, args, kwargs = requests.recv()
            requests.send(answer_of(job, functools.partial(method, session, *args, **kwargs)))


def answer_of(job: Job, call: Callable[[], Any]) -> Any:
    """Return the result or the error of `call`, as an object that can be pickled; errors have one line for the user."""
    try:
        return call()
    except (AaeError, ModuleNotFoundError) as error:
        refusal: Exception = error
    except Exception as error:  # runtimes raise types of their own, and few can be pickled
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        refusal = AaeError(f"{job.runnable.backend} failed on {job.runnable.file}: {reason}")
        refusal.add_note(traceback.format_exc())  # shown by --debug
    return refusal


def _follow_parent() -> None:
    """End this process when its parent ends, for whatever reason."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def pin_to_cores(n: int) -> None:
    """Pin this process to the last `n` cores that it may use, where the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n:])


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables that a process started meanwhile inherits, since some libraries read them at import."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
