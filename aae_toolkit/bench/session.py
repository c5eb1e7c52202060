"""What is timed, and how: one backend, in the process that runs it. Nothing heavy is imported before `load`."""

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

_STABLE = 0.05  # relative change of the median from one window to the next
_SPIN_SECONDS = 5e-4  # before a query is due: sleeping is not as exact


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: turns that each backend gets; below 5 there are no intervals.
        seconds: of a turn, at least.
        iterations: of a turn, at least.
        warm_up_seconds: after which a backend that has not settled is measured all the same.
        queries: of a turn of the server scenario.
    """

    rounds: int = 10
    seconds: float = 0.1
    iterations: int = 3
    warm_up_seconds: float = 3.0
    queries: int = 200


@dataclass(frozen=True)
class Job:
    """What a session opens, and the golden outputs that its own are compared with."""

    export: ExportDirectory
    runnable: Runnable
    device: str
    threads: int
    golden: Golden


@dataclass(frozen=True)
class Opened:
    """A backend that is ready: where it runs, and what it took to get there.

    `import_seconds` are those of its runtime, `load_seconds` those of the file, onto the device.
    """

    device: str
    import_seconds: float
    load_seconds: float


@dataclass(frozen=True)
class Served:
    """Queries of one image: latencies in ms from their scheduled arrival, and seconds until the last was answered."""

    latencies_ms: list[float]
    seconds: float


class Session:
    """One backend at one number of threads: loaded once, then prepared and timed, batch size by batch size."""

    def __init__(self, job: Job) -> None:
        """Nothing is loaded yet."""
        self._job = job
        self._backend: Backend
        self._timed: Bound
        self._golden: Golden
        self._queries: list[tuple[Tensors, Golden]] = []

    def start(self) -> Opened:
        """Import the runtime, keep its operators from running beside each other, and load; once a process.

        Raises:
            AaeError: the file cannot be loaded.
            DeviceError: another device or provider ran than was asked for.
        """
        started = time.perf_counter()
        import_engine(self._job.runnable.backend)
        if torch := sys.modules.get("torch"):
            torch.set_num_interop_threads(1)
        imported = time.perf_counter()
        self.load()
        return Opened(self._backend.device, imported - started, time.perf_counter() - imported)

    def load(self) -> None:
        """Open the backend; raises what `open_backend` raises."""
        job = self._job
        self._backend = open_backend(job.export, job.runnable, device=job.device, threads=job.threads)

    def prepare(self, io: Io, batch_size: int) -> float:
        """Have golden images ready, run them once, and check what came; milliseconds of that first run.

        Raises:
            AaeError: it does not run at this batch size.
            ParityError: it gives other outputs than the golden ones.
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
        """Have each golden image ready as a query of its own; returns and raises what `prepare` does."""
        first_run_ms = self.prepare("end-to-end", 1)
        self._queries = [({"images": golden.images}, golden) for golden in self._job.golden.singles()]
        return first_run_ms

    def warm_up(self, effort: Effort) -> bool:
        """Run until the median of a turn is within 5% of the one before; whether it came to that in time."""
        deadline = time.perf_counter() + effort.warm_up_seconds
        before = statistics.median(self.time(effort))
        while time.perf_counter() < deadline:
            now = statistics.median(self.time(effort))
            if abs(now - before) <= _STABLE * before:
                return True
            before = now
        return False

    def time(self, effort: Effort) -> list[float]:
        """One turn: latencies of single runs, ms; the outputs of the last are checked once the clock has stopped.

        One run goes before them untimed, for another process had the caches.
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
        """One turn of `n` queries that arrive by a Poisson process, `rate` a second; each answer is checked afterwards.

        A query that finds the backend busy waits, and its waiting counts.
        """
        self._timed.run()
        # a Poisson process of which n arrivals in n / rate seconds are known, so that the rate is exact
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
        """The most memory that this process has had resident so far."""
        status = Path("/proc/self/status")
        if status.is_file():  # getrusage's figure begins with that of the process that started this one
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
        given: Tensors = {}
        return Bound(lambda: given.update(self._backend.run(feeds)), lambda: given)

    def _refusing(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:  # every runtime has its own
            runnable, reason = self._job.runnable, " ".join(str(error).split())[:200]
            size = len(self._golden.images)
            raise AaeError(f"{runnable.backend} cannot run {runnable.file} at batch size {size}: {reason}") from error

    def _check(self, golden: Golden, found: Tensors) -> None:
        problem = golden.problem(found)
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
