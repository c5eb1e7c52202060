"""Timing of one backend, in the process that runs it. Nothing heavy is imported before `start`."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np

from aae_toolkit.backends.protocol import Backend, Bound, Runnable
from aae_toolkit.backends.registry import import_engine, open_backend
from aae_toolkit.bench.expected import Golden
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.export.contract import Tensors
from aae_toolkit.export.directory import ExportDirectory

T = TypeVar("T")
Io = Literal["end-to-end", "bound"]
IOS: tuple[Io, ...] = get_args(Io)

_STABLE = 0.05  # relative change of the median between two turns of the warm-up
_SPIN_SECONDS = 5e-4  # busy wait before a query is due, since sleeping is less exact


@dataclass(frozen=True)
class Effort:
    """Duration and number of runs.

    Attributes:
        rounds: turns of each backend; fewer than 5 give no intervals.
        seconds: minimum duration of a turn.
        iterations: minimum number of runs in a turn.
        warm_up_seconds: maximum duration of the warm-up; a backend that has not settled by then is measured anyway.
        queries: queries in a turn of the server scenario.
    """

    rounds: int = 10
    seconds: float = 0.1
    iterations: int = 3
    warm_up_seconds: float = 3.0
    queries: int = 200


@dataclass(frozen=True)
class Job:
    """Backend, device and threads of a session, with its golden outputs."""

    export: ExportDirectory
    runnable: Runnable
    device: str
    threads: int
    golden: Golden


@dataclass(frozen=True)
class Opened:
    """Facts of a loaded backend.

    Attributes:
        device: device that it runs on.
        import_seconds: seconds to import its runtime.
        load_seconds: seconds to load the file onto the device.
    """

    device: str
    import_seconds: float
    load_seconds: float


@dataclass(frozen=True)
class Served:
    """Answered queries of one image.

    Attributes:
        latencies_ms: latencies from the scheduled arrivals, in ms.
        seconds: seconds until the last answer.
    """

    latencies_ms: list[float]
    seconds: float


class Session:
    """Session of one backend at one number of threads: loaded once, then prepared and timed for each batch size."""

    def __init__(self, job: Job) -> None:
        """Keep the job; nothing is loaded yet."""
        self._job = job
        self._backend: Backend
        self._timed: Bound
        self._golden: Golden
        self._queries: list[tuple[Tensors, Golden]] = []

    def start(self) -> Opened:
        """Import the runtime, disable parallel operators, and load the file; at most once in a process.

        Raises:
            AaeError: the file cannot be loaded.
            DeviceError: another device or execution provider ran than was requested.
        """
        started = time.perf_counter()
        import_engine(self._job.runnable.backend)
        if torch := sys.modules.get("torch"):
            torch.set_num_interop_threads(1)
        imported = time.perf_counter()
        self.load()
        return Opened(self._backend.device, imported - started, time.perf_counter() - imported)

    def load(self) -> None:
        """Open the backend, with the errors of `open_backend`."""
        job = self._job
        self._backend = open_backend(job.export, job.runnable, device=job.device, threads=job.threads)

    def prepare(self, io: Io, batch_size: int) -> float:
        """Prepare a batch of golden images, run it once, and check the outputs.

        Returns:
            Duration of that first run, in ms.

        Raises:
            AaeError: the backend does not run at this batch size.
            ParityError: the outputs differ from the golden ones.
        """
        self._golden = self._job.golden.batch(batch_size)
        feeds: Tensors = {"images": self._golden.images}
        self._timed = self._refusing(lambda: self._bind(io, feeds))
        started = time.perf_counter()
        self._refusing(self._timed.run)
        milliseconds = (time.perf_counter() - started) * 1000
        self._check(self._golden, self._timed.outputs())
        return milliseconds

    def prepare_queries(self) -> float:
        """Prepare each golden image as a query, with the result and errors of `prepare`."""
        first_run_ms = self.prepare("end-to-end", 1)
        self._queries = [({"images": golden.images}, golden) for golden in self._job.golden.singles()]
        return first_run_ms

    def warm_up(self, effort: Effort) -> bool:
        """Run until the median of a turn is within 5% of the previous one; return whether that happened in time."""
        deadline = time.perf_counter() + effort.warm_up_seconds
        before = statistics.median(self.time(effort))
        while time.perf_counter() < deadline:
            now = statistics.median(self.time(effort))
            if abs(now - before) <= _STABLE * before:
                return True
            before = now
        return False

    def time(self, effort: Effort) -> list[float]:
        """Time one turn; return the latencies of single runs, in ms.

        The outputs of the last run are checked after timing. One untimed run comes first, to warm the caches.
        """
        run = self._timed.run
        samples: list[float] = []
        run()
        started = time.perf_counter()
        while len(samples) < effort.iterations or time.perf_counter() - started < effort.seconds:
            before = time.perf_counter()
            run()
            samples.append((time.perf_counter() - before) * 1000)
        self._check(self._golden, self._timed.outputs())
        return samples

    def serve(self, rate: float, n: int, seed: int) -> Served:
        """Serve `n` queries that arrive as a Poisson process of `rate` per second; check the answers afterwards.

        Latencies include the time that a query waits while the backend is busy.
        """
        self._timed.run()
        # given n arrivals in n / rate seconds, those of a Poisson process are uniform; the rate is exact
        arrivals = np.sort(np.random.default_rng(seed).uniform(0, n / rate, n))
        latencies, answers = [], []
        started = time.perf_counter()
        for i, due in enumerate((started + arrivals).tolist()):
            feeds, golden = self._queries[i % len(self._queries)]
            _wait_until(due)
            outputs = self._backend.run(feeds)
            latencies.append((time.perf_counter() - due) * 1000)
            answers.append((golden, outputs))
        seconds = time.perf_counter() - started
        for golden, outputs in answers:
            self._check(golden, outputs)
        return Served(latencies, seconds)

    def peak_rss_mib(self) -> float:
        """Return the peak resident memory of this process so far, in MiB."""
        status = Path("/proc/self/status")
        if status.is_file():  # getrusage would include the peak of the parent process
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024

    def close(self) -> None:
        """Free the backend."""
        self._backend.close()

    def _bind(self, io: Io, feeds: Tensors) -> Bound:
        if io == "bound":
            return self._backend.bind(feeds)
        outputs: Tensors = {}
        return Bound(lambda: outputs.update(self._backend.run(feeds)), lambda: outputs)

    def _refusing(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:  # runtimes raise types of their own
            runnable, reason = self._job.runnable, " ".join(str(error).split())[:200]
            size = len(self._golden.images)
            raise AaeError(f"{runnable.backend} cannot run {runnable.file} at batch size {size}: {reason}") from error

    def _check(self, golden: Golden, outputs: Tensors) -> None:
        problem = golden.problem(outputs)
        if problem is not None:
            runnable = self._job.runnable
            raise ParityError(
                f"{runnable.backend} gives other outputs for the golden images with {runnable.file}: {problem};"
                " nothing is reported: see aae parity"
            )


def _wait_until(due: float) -> None:
    while (left := due - time.perf_counter()) > 0:
        if left > _SPIN_SECONDS:
            time.sleep(left - _SPIN_SECONDS)
