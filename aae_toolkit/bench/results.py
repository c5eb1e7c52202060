"""Measurements: raw latencies, and what is derived from them."""

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
    """One backend on one file in one cell.

    Latencies and percentiles are in ms, intervals are at 95% and None below 5 rounds; `docs/benchmarking.md` says what
    each means.
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
    stable: bool = False  # whether warming up came to an end by itself
    import_seconds: float = 0.0
    load_seconds: float = 0.0
    first_run_ms: float = 0.0
    peak_rss_mib: float = 0.0
    file_bytes: int = 0
    seconds: float = 0.0  # of all rounds; the server's idle time included
    rounds: list[int] = field(default_factory=list)  # samples of each
    samples_ms: list[float] = field(default_factory=list)

    def add_round(self, samples_ms: list[float], seconds: float) -> None:
        """Keep one turn, and the seconds that it took."""
        self.seconds += seconds
        self.samples_ms += samples_ms
        self.rounds.append(len(samples_ms))

    def medians(self) -> list[float]:
        """The median latency of each round, ms."""
        ends = itertools.accumulate(self.rounds)
        return [statistics.median(self.samples_ms[end - n : end]) for n, end in zip(self.rounds, ends, strict=True)]

    def summarize(self) -> None:
        """Derive throughput, percentiles and the median's interval."""
        self.images_per_second = self.batch_size * len(self.samples_ms) / self.seconds
        points = np.percentile(self.samples_ms, PERCENTILES)
        self.latency_ms = {f"p{p}": float(v) for p, v in zip(PERCENTILES, points, strict=True)}
        self.latency_interval_ms = median_interval(self.medians())
        if self.p99_bound_ms is not None:
            self.within_bound = self.latency_ms["p99"] <= self.p99_bound_ms

    def compare_with(self, reference: Measurement) -> None:
        """Derive the speed-up over a reference that was measured in the same rounds."""
        ratios = [theirs / own for theirs, own in zip(reference.medians(), self.medians(), strict=True)]
        self.speedup_over_eager = statistics.median(ratios)
        self.speedup_interval = median_interval(ratios)

    @property
    def title(self) -> str:
        """The backend, with the precision where it is a reduced one."""
        return self.backend if self.precision == "fp32" else f"{self.backend} {self.precision}"

    @property
    def is_reference(self) -> bool:
        """Whether speed-ups are over this."""
        return (self.backend, self.precision) == ("eager", "fp32")

    @property
    def differs_from_eager(self) -> bool:
        """Whether the speed-up's interval lies to one side of 1; where there is none, nothing says that it does not."""
        interval = self.speedup_interval
        return interval is None or not interval[0] <= 1 <= interval[1]


@dataclass
class BenchReport:
    """All measurements, and where they were taken."""

    environment: dict[str, Any]
    results: list[Measurement]

    def to_json(self) -> dict[str, Any]:
        """The object that `aae bench` writes."""
        return asdict(self)


def read_report(flag: str, path: Path) -> BenchReport:
    """Read what `aae bench --output` wrote.

    Args:
        flag: by which the file was named, for errors.
        path: the file.

    Raises:
        AaeError: unreadable, or something else.
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
            if not 0 < low <= high < math.inf:  # nothing is slower than nan
                raise ValueError(f"{low}-{high} ms is no interval")
        return report
    except ValueError as error:  # pydantic's too
        raise AaeError(f"{flag} {path} is not a report of this version of aae bench; measure it again") from error


def last_of_each_process(results: Iterable[Measurement]) -> list[Measurement]:
    """The measurements whose memory is the most that their process ever had."""
    return list({(m.threads, m.backend, m.artifact): m for m in results}.values())
