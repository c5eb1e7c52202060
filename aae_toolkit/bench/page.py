"""The report as one self-contained page, for a browser or a printer."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from aae_toolkit.bench.charts import Point, accuracy_chart, latency_chart
from aae_toolkit.bench.results import BenchReport, Measurement, last_of_each_process
from aae_toolkit.export.manifest import Manifest
from aae_toolkit.files import write_text

_TEMPLATE = "page.html"


def write_page(path: Path, report: BenchReport, manifest: Manifest, command: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        report: what was measured.
        manifest: of the export, for the accuracies that `aae parity` recorded there.
        command: what made it, for readers.
    """
    write_text(path, render(report, manifest, command))


def render(report: BenchReport, manifest: Manifest, command: str) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    template = resources.files("aae_toolkit.bench").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    timed = [m for m in report.results if m.rate is None]
    points = fastest(timed, manifest)
    return page.from_string(template).render(
        command=command,
        environment=_facts(report.environment),
        latency=latency_chart(timed),
        accuracy=accuracy_chart(points) if points else None,
        results=timed,
        served=[m for m in report.results if m.rate is not None],
        loads=last_of_each_process(report.results),
    )


def fastest(timed: list[Measurement], manifest: Manifest) -> list[Point]:
    """Where each backend and precision of known accuracy had its highest throughput."""
    best: dict[str, Measurement] = {}
    for m in timed:
        if m.title not in best or m.images_per_second > best[m.title].images_per_second:
            best[m.title] = m
    known = [(name, accuracy_of(m, manifest), m) for name, m in best.items()]
    return [Point(name, a, m.images_per_second, m.batch_size, m.threads) for name, a, m in known if a is not None]


def accuracy_of(measurement: Measurement, manifest: Manifest) -> float | None:
    """What `aae parity` measured for this file on this backend, else, at full precision, for the trained model."""
    wanted = measurement.artifact, measurement.backend, measurement.precision
    for result in (manifest.parity or {}).get("results", ()):
        found = result.get("artifact"), result.get("backend"), result.get("precision", "fp32")
        if found == wanted and result.get("accuracy") is not None:
            return float(result["accuracy"])
    return manifest.accuracy if measurement.precision == "fp32" else None


def _facts(environment: dict[str, Any]) -> dict[str, str]:
    """The environment as pairs of words."""
    facts = {}
    for name, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {content}" for key, content in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        facts[name.replace("_", " ")] = str(value)
    return facts
