"""Processes forked from a server that has imported everything already, and `aae` run in one as a console script."""

from __future__ import annotations

import functools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

# An import of torch takes seconds, and what exporters import when first called more: the server pays both once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["fault_preload"])


@functools.cache
def _start_server() -> None:
    """Start the server, and wait until it has imported, which it finds by PYTHONPATH; it ends with this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.setenv("OMP_NUM_THREADS", "1")  # threads would not survive a fork
        forkserver.ensure_running()
    ready = _CONTEXT.Process(target=int)
    ready.start()
    ready.join()


def forked(target: Callable[..., object], *arguments: Any) -> ForkServerProcess:
    """A process that will call `target(*arguments)`, not started yet."""
    _start_server()
    return _CONTEXT.Process(target=target, args=arguments)


@dataclass(frozen=True)
class Limits:
    """What a child may use: bytes of one file, and bytes of memory beyond what it starts with; None: no limit."""

    file_size: int | None = None
    memory: int | None = None


class Child:
    """`aae` with some arguments, in a process of its own; what it prints goes to a file."""

    def __init__(self, arguments: list[str | Path], log: Path, limits: Limits = Limits()) -> None:
        self.log = log
        log.unlink(missing_ok=True)
        self._process = forked(_run, [str(argument) for argument in arguments], log, limits)
        self._process.start()
        while not log.exists() and self._process.is_alive():  # until it begins
            time.sleep(0.001)
        self._before = 0.0
        self._before = self.cpu_seconds()

    def send(self, signum: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signum)

    def wait(self, timeout: float = 300) -> int:
        """The exit status, negative where a signal ended it."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            raise TimeoutError(f"a child ran for more than {timeout} s: {self.log.read_text()}")
        return status

    def cpu_seconds(self) -> float:
        """How long `aae` has computed so far, which other processes do not stretch; 0 once it has ended."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9 - self._before
        except (OSError, IndexError):
            return 0.0

    def measure(self) -> float:
        """The CPU seconds of its whole run, to which it has to come without an error."""
        most = 0.0
        while self._process.is_alive():
            most = max(most, self.cpu_seconds())
            time.sleep(0.002)
        assert (self.wait(), self.errors()) == (0, [])
        return most

    def send_after(self, signum: int, cpu_seconds: float) -> None:
        """Send a signal once it has computed so long, unless it ends before."""
        while self._process.is_alive() and self.cpu_seconds() < cpu_seconds:
            time.sleep(0.001)
        if self._process.is_alive():
            self.send(signum)

    def kill_after(self, cpu_seconds: float) -> bool:
        """Kill it by SIGKILL once it has computed so long; whether it was still running."""
        self.send_after(signal.SIGKILL, cpu_seconds)
        return self.wait() == -signal.SIGKILL

    def wait_for(self, text: str, timeout: float = 120) -> None:
        """Return once it has printed `text`."""
        end = time.monotonic() + timeout
        while text not in self.log.read_text():
            assert self._process.is_alive(), self.log.read_text()
            assert time.monotonic() < end
            time.sleep(0.01)

    def errors(self) -> list[str]:
        """The lines that it ended with on standard error; `aae` gives one."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("aae: ") or "Traceback" in line]


def run(arguments: list[str | Path], log: Path, limits: Limits = Limits()) -> tuple[int, list[str]]:
    """Run `aae` to its end: its status and its error lines."""
    child = Child(arguments, log, limits)
    return child.wait(), child.errors()


def _run(arguments: list[str], log: Path, limits: Limits) -> None:
    from aae_toolkit.cli.app import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limits.file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, limits.file_size))
    if limits.memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    main(arguments)
