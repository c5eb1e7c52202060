"""Comparison with an earlier report: slower cells are found by intervals, never by single values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.bench.results import Measurement, read_report
from aae_toolkit.bench.scenarios import Cell
from aae_toolkit.errors import AaeError, SlowerError, UsageError

_SAME_MACHINE = ("cpu", "cores", "gpu")


class Key(NamedTuple):
    """Identity of a measurement; two measurements with equal keys can be compared."""

    backend: str
    artifact: str
    precision: str
    batch_size: int
    threads: int
    scenario: str
    io: str
    rate: float | None

    @classmethod
    def of(cls, measurement: Measurement) -> Key:
        """Return the key of a measurement."""
        return cls(*(getattr(measurement, name) for name in cls._fields))

    @classmethod
    def of_cell(cls, runnable: Runnable, threads: int, cell: Cell) -> Key:
        """Return the key of a planned measurement."""
        of_file = runnable.backend, runnable.file, runnable.precision
        return cls(*of_file, cell.batch_size, threads, cell.scenario, cell.io, cell.rate)

    def __str__(self) -> str:
        """Describe the measurement for people."""
        rate = "" if self.rate is None else f" of {self.rate:g} queries/s"
        plural = "" if self.threads == 1 else "s"
        where = f"batch {self.batch_size}, {self.threads} thread{plural}, {self.io}, {self.scenario}{rate}"
        return f"{self.backend} on {self.artifact} ({where})"


@dataclass(frozen=True)
class Baseline:
    """Median latencies of an earlier report.

    Attributes:
        path: file of the report.
        environment: machine and versions that were measured.
        intervals: 95% intervals of the median latency by key, in ms.
    """

    path: Path
    environment: Mapping[str, Any]
    intervals: Mapping[Key, tuple[float, float]]

    def require_comparable(self, environment: Mapping[str, Any], planned: Iterable[Key]) -> None:
        """Raise `AaeError` unless the report is of a machine like this one and has a planned cell."""
        for name in _SAME_MACHINE:
            then, now = self.environment.get(name), environment.get(name)
            if then != now:
                raise AaeError(f"--baseline {self.path} is not comparable: its {name} is {then}, here it is {now}")
        if not self.intervals.keys() & set(planned):
            raise AaeError(
                f"--baseline {self.path} has no cell in common with this run, so nothing would be compared; ask for"
                " the backends, files, batch sizes, threads and rates that it has intervals for"
            )

    def judge(self, results: Iterable[Measurement], max_regression: float) -> str:
        """Compare measurements with the report; a cell is slower if its whole interval is above the limit.

        Args:
            results: measurements on this machine.
            max_regression: allowed slowdown, a fraction.

        Returns:
            A line with the number of compared cells.

        Raises:
            AaeError: nothing was compared.
            SlowerError: a cell is slower than allowed.
        """
        n_compared, slower = 0, []
        for m in results:
            key = Key.of(m)
            then, now = self.intervals.get(key), m.latency_interval_ms
            if then is None or now is None:
                continue
            n_compared += 1
            if now[0] > then[1] * (1 + max_regression):
                slower.append((now[0] / then[1], key, now, then))
        if n_compared == 0:
            raise AaeError(f"--baseline {self.path}: nothing was compared, since no common cell has an interval")
        if slower:
            _, key, now, then = max(slower, key=lambda cell: cell[0])
            raise SlowerError(
                f"slower than {self.path} by more than {100 * max_regression:g}% in {len(slower)} of {n_compared}"
                f" cells; worst {key}: {now[0]:.3f}-{now[1]:.3f} ms, was {then[0]:.3f}-{then[1]:.3f} ms"
            )
        return f"not slower than {self.path} by more than {100 * max_regression:g}% in any of {n_compared} cells"


def read_baseline(path: Path) -> Baseline:
    """Read a report that `aae bench --output` wrote.

    Raises:
        AaeError: the file cannot be read, or is not such a report.
    """
    report = read_report("--baseline", path)
    intervals = {Key.of(m): m.latency_interval_ms for m in report.results if m.latency_interval_ms is not None}
    return Baseline(path, report.environment, intervals)


def parse_regression(text: str) -> float:
    """Parse a percentage into a fraction.

    Raises:
        UsageError: the text is not a percentage.
    """
    percentage = re.fullmatch(r"(\d+(?:\.\d+)?)%", text.strip())
    if percentage is None:
        raise UsageError(f"--max-regression {text!r}: give a percentage such as 10%")
    return float(percentage[1]) / 100
