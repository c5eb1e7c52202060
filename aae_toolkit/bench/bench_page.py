"""Self-contained page of a benchmark, for a browser or a printer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aae_toolkit.bench.charts import Chart, Point, accuracy_chart, latency_chart
from aae_toolkit.bench.results import BenchReport, Measurement, last_of_each_process
from aae_toolkit.export.manifest import Manifest
from aae_toolkit.html import rendering


@dataclass(frozen=True)
class Speed:
    """Content of `speed_charts.html` and `speed_tables.html`.

    Attributes:
        latency: chart of latency against batch size.
        accuracy: chart of throughput against accuracy; None where no accuracy is known.
        results: measurements without the server scenario.
        served: measurements of the server scenario.
        loads: last measurement of each process, for load times and memory.
    """

    latency: Chart
    accuracy: Chart | None
    results: list[Measurement]
    served: list[Measurement]
    loads: list[Measurement]


def write_page(path: Path, report: BenchReport, manifest: Manifest, command: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: path of the page.
        report: measurements to show.
        manifest: manifest of the export, with the accuracies that `aae parity` recorded.
        command: command line that made the page, to show on it.

    Raises:
        AaeError: the page cannot be written.
    """
    rendering.write_page(path, render(report, manifest, command))


def render(report: BenchReport, manifest: Manifest, command: str) -> str:
    """Render the page as HTML."""
    return rendering.render(
        "bench/bench_page.html",
        command=command,
        environment=rendering.facts(report.environment),
        speed=speed_of(report, manifest),
        level=2,
    )


def speed_of(report: BenchReport, manifest: Manifest) -> Speed:
    """Draw the charts, and group the measurements by table."""
    timed = [m for m in report.results if m.rate is None]
    points = fastest(timed, manifest)
    return Speed(
        latency=latency_chart(timed),
        accuracy=accuracy_chart(points, _scored(manifest)) if points else None,
        results=timed,
        served=[m for m in report.results if m.rate is not None],
        loads=last_of_each_process(report.results),
    )


def _scored(manifest: Manifest) -> str:
    """Name the images that accuracies were measured on; empty if they are not known."""
    parity = manifest.parity or {}
    n, split = parity.get("n"), parity.get("split")
    return f" on {n:,} {split} images" if isinstance(n, int) and isinstance(split, str) else ""


def fastest(timed: list[Measurement], manifest: Manifest) -> list[Point]:
    """Find the highest throughput of each backend and precision whose accuracy is known."""
    best: dict[str, Measurement] = {}
    for m in timed:
        if m.title not in best or m.images_per_second > best[m.title].images_per_second:
            best[m.title] = m
    known = [(name, accuracy_of(m, manifest), m) for name, m in best.items()]
    return [Point(name, a, m.images_per_second, m.batch_size, m.threads) for name, a, m in known if a is not None]


def accuracy_of(measurement: Measurement, manifest: Manifest) -> float | None:
    """Return the accuracy that `aae parity` recorded for this file on this backend.

    Without such a record, float32 files have the accuracy of the trained model, and others None.
    """
    wanted = measurement.artifact, measurement.backend, measurement.precision
    for result in (manifest.parity or {}).get("results", ()):
        recorded = result.get("artifact"), result.get("backend"), result.get("precision", "fp32")
        if recorded == wanted and result.get("accuracy") is not None:
            return float(result["accuracy"])
    return manifest.accuracy if measurement.precision == "fp32" else None
