"""Measurements: raw latencies and the statistics derived from them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from aae_toolkit.backends.protocol import BackendName
from aae_toolkit.bench.intervals import median_interval
from aae_toolkit.bench.scenarios import Scenario
from aae_toolkit.bench.session import Io
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Precision
from aae_toolkit.files.documents import read_json

PERCENTILES = (50, 90, 95, 99)


@dataclass
class Measurement:
    """Measurement of one backend on one file in one cell.

    Latencies are in ms. Intervals are at 95%, and None below 5 rounds. `docs/benchmarking.md` defines every field.
    """

    backend: BackendName
    artifact: str
    precision: Precision
    device: str
    batch_size: int
    threads: int
    scenario: Scenario
    io: Io
    rate: float | None = None
    p99_bound_ms: float | None = None
    within_bound: bool | None = None
    images_per_second: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_interval_ms: tuple[float, float] | None = None
    speedup_over_eager: float | None = None
    speedup_interval: tuple[float, float] | None = None
    stable: bool = False  # warm-up ended before its time limit
    import_seconds: float = 0.0
    load_seconds: float = 0.0
    first_run_ms: float = 0.0
    peak_rss_mib: float = 0.0
    file_bytes: int = 0
    seconds: float = 0.0  # duration of all rounds, including idle time of the server scenario
    rounds: list[int] = field(default_factory=list)  # number of samples in each round
    samples_ms: list[float] = field(default_factory=list)

    def add_round(self, samples_ms: list[float], seconds: float) -> None:
        """Add the latencies of one round, and its duration in seconds."""
        self.seconds += seconds
        self.samples_ms += samples_ms
        self.rounds.append(len(samples_ms))

    def medians(self) -> list[float]:
        """Return the median latency of each round, in ms."""
        ends = itertools.accumulate(self.rounds)
        return [statistics.median(self.samples_ms[end - n : end]) for n, end in zip(self.rounds, ends, strict=True)]

    def summarize(self) -> None:
        """Derive throughput, percentiles and the interval of the median."""
        self.images_per_second = self.batch_size * len(self.samples_ms) / self.seconds
        points = np.percentile(self.samples_ms, PERCENTILES)
        self.latency_ms = {f"p{p}": float(v) for p, v in zip(PERCENTILES, points, strict=True)}
        self.latency_interval_ms = median_interval(self.medians())
        if self.p99_bound_ms is not None:
            self.within_bound = self.latency_ms["p99"] <= self.p99_bound_ms

    def compare_with(self, reference: Measurement) -> None:
        """Derive the speedup over a reference that was measured in the same rounds."""
        ratios = [theirs / own for theirs, own in zip(reference.medians(), self.medians(), strict=True)]
        self.speedup_over_eager = statistics.median(ratios)
        self.speedup_interval = median_interval(ratios)

    @property
    def title(self) -> str:
        """Name of the backend, with the precision where it is reduced."""
        return self.backend if self.precision == "fp32" else f"{self.backend} {self.precision}"

    @property
    def is_reference(self) -> bool:
        """Return whether speedups are relative to this measurement."""
        return (self.backend, self.precision) == ("eager", "fp32")

    @property
    def differs_from_eager(self) -> bool:
        """Return whether the interval of the speedup excludes 1; true where there is no interval."""
        interval = self.speedup_interval
        return interval is None or not interval[0] <= 1 <= interval[1]


@dataclass
class BenchReport:
    """All measurements of a run, with the environment that they were taken in."""

    environment: dict[str, Any]
    results: list[Measurement]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae bench --output` writes."""
        return asdict(self)


def read_report(flag: str, path: Path) -> BenchReport:
    """Read a report that `aae bench --output` wrote.

    Args:
        flag: flag that named the file, for errors.
        path: path of the report.

    Raises:
        AaeError: the file cannot be read, or is not such a report.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise AaeError(f"{flag} {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise AaeError(f"{flag} {path} is no JSON ({error}); give a file that aae bench --output wrote") from error
    try:
        report = TypeAdapter(BenchReport).validate_python(content)
        for low, high in (m.latency_interval_ms for m in report.results if m.latency_interval_ms is not None):
            if not 0 < low <= high < math.inf:  # nan would never compare as slower
                raise ValueError(f"{low}-{high} ms is no interval")
        return report
    except ValueError as error:  # includes those of pydantic
        raise AaeError(f"{flag} {path} is not a report of this version of aae bench; measure it again") from error


def last_of_each_process(results: Iterable[Measurement]) -> list[Measurement]:
    """Select the last measurement of each process, whose peak memory covers all earlier ones."""
    return list({(m.threads, m.backend, m.artifact): m for m in results}.values())
