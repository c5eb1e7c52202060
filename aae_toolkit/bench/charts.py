"""Charts of the benchmark page: SVG in data URLs, so the page loads no other file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aae_toolkit.bench.results import Measurement
from aae_toolkit.html.rendering import data_address
from aae_toolkit.visualization.canvas import colors

_WIDTH = 5.0  # inches; a page scales it down to a phone, where its text must stay legible
_MARKERS = "osD^vPX*<>"


@dataclass(frozen=True)
class Point:
    """Highest throughput of a backend with a file, at the accuracy that parity measured for it."""

    name: str
    accuracy: float
    images_per_second: float
    batch_size: int
    threads: int


@dataclass
class Chart:
    """Chart with its alternative text, and a note on what is drawn; `address` is a data URL, set once it is drawn."""

    alternative: str
    note: str = ""
    address: str = ""


def latency_chart(results: Sequence[Measurement]) -> Chart:
    """Draw median latency against batch size, with a panel for each number of threads and input mode."""
    timed = [m for m in results if m.rate is None]
    panels = list(dict.fromkeys((m.threads, m.io) for m in timed))
    styles = _styles(list(dict.fromkeys(m.title for m in timed)))
    with _drawing("median latency against batch size", 3.4 * len(panels)) as (drawn, chart):
        axes = drawn.subplots(len(panels), 1, squeeze=False)[:, 0]
        for (threads, io_mode), panel in zip(panels, axes, strict=True):
            here = [m for m in timed if (m.threads, m.io) == (threads, io_mode)]
            for name, style in styles.items():
                series = sorted((m for m in here if m.title == name), key=lambda m: m.batch_size)
                _plot_series(panel, series, name, style)
            sizes = sorted({m.batch_size for m in here})
            title = f"{threads} thread{'s' * (threads > 1)}, {io_mode}"
            panel.set(title=title, xlabel="batch size", ylabel="p50 latency, ms")
            panel.set(xscale="log", yscale="log", xticks=sizes, xticklabels=map(str, sizes))
            panel.minorticks_off()
            _label_decades(panel.yaxis)
            panel.grid(alpha=0.3)
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize="small", ncols=2)
        chart.note = "Median latency of single runs; both axes are logarithmic."
        if any(m.latency_interval_ms is not None for m in timed):
            chart.note += " Bands are 95% intervals of the median; an invisible one is thinner than the line."
    return chart


def _plot_series(panel: Any, series: Sequence[Measurement], name: str, style: dict[str, Any]) -> None:
    sizes, medians = [m.batch_size for m in series], [m.latency_ms["p50"] for m in series]
    panel.plot(sizes, medians, label=name, **style)
    known = [(m.batch_size, m.latency_interval_ms) for m in series if m.latency_interval_ms is not None]
    if known:
        at, intervals = zip(*known, strict=True)
        panel.fill_between(at, *zip(*intervals, strict=True), color=style["color"], alpha=0.2, linewidth=0)


def accuracy_chart(points: Sequence[Point], scored: str = "") -> Chart:
    """Draw throughput against accuracy, with the Pareto front as a line if it has one; `scored` names the images."""
    styles = _styles([point.name for point in points])
    with _drawing("throughput against accuracy", 4.4) as (drawn, chart):
        axes = drawn.subplots()
        best = pareto(points)
        if len(best) > 1:
            accuracies, rates = [100 * p.accuracy for p in best], [p.images_per_second for p in best]
            axes.step(accuracies, rates, where="pre", color="0.6", zorder=1)
        for point in points:
            style = styles[point.name] | {"linestyle": "none", "markersize": 8}
            label = f"{point.name} (batch {point.batch_size}, threads {point.threads})"
            axes.plot(100 * point.accuracy, point.images_per_second, label=label, **style)
        axes.margins(x=0.1)
        if len({point.accuracy for point in points}) == 1:
            middle = 100 * points[0].accuracy
            axes.set_xlim(middle - 0.5, middle + 0.5)
        axes.set(xlabel="accuracy, %", ylabel="images/s")
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_formatter().set_useOffset(False)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3)
        drawn.legend(loc="outside lower center", fontsize="small", ncols=1)
        chart.note = (
            f"Highest throughput of each backend and precision, at the accuracy that aae parity measured{scored}."
        )
        if len(best) > 1:
            chart.note += " The line is the Pareto front: no point is better than one on it in both."
    return chart


def pareto(points: Sequence[Point]) -> list[Point]:
    """Select the Pareto-optimal points in accuracy and throughput, least accurate first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.accuracy, -p.images_per_second)):
        if not front or point.images_per_second > front[-1].images_per_second:
            front.append(point)
    return front[::-1]


def _label_decades(axis: Any) -> None:
    """Label 1, 2 and 5 of each decade, since a narrow range would get no label by default."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Assign each name a colour and a marker, each sufficient to tell the series apart."""
    chosen = zip(names, colors(len(names)), strict=True)
    return {n: {"color": c, "marker": _MARKERS[i % len(_MARKERS)], "markersize": 5} for i, (n, c) in enumerate(chosen)}


@contextmanager
def _drawing(alternative: str, height: float) -> Iterator[tuple[Any, Chart]]:
    """Yield a matplotlib figure and the chart that it becomes; `alternative` is the text for screen readers."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    chart = Chart(alternative)
    with rc_context({"svg.hashsalt": "aae", "axes.spines.top": False, "axes.spines.right": False}):
        drawn = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(drawn)
        yield drawn, chart
        written = io.BytesIO()
        drawn.savefig(written, format="svg", metadata={"Date": None})
    chart.address = data_address("image/svg+xml", written.getvalue())
