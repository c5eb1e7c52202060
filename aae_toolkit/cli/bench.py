"""`aae bench`: measure throughput and latency of the classifier on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, ExportDirOption, TrustOption, command_line, require_writable
from aae_toolkit.errors import UsageError

if TYPE_CHECKING:
    from aae_toolkit.bench.results import BenchReport, Measurement
    from aae_toolkit.export.directory import ExportDirectory


_BatchSizes = Annotated[str, typer.Option(help="Batch sizes, separated by commas.")]
_Threads = Annotated[str, typer.Option(help="Threads within one operator, separated by commas.")]
_Backends = Annotated[
    str | None,
    typer.Option(help="Backends: eager,compiled,torchscript,torch-export,aoti,onnxruntime; default: all."),
]
_Device = Annotated[str, typer.Option("--device", help="Device to run on: cpu, cuda or cuda:<index>.")]
_InputsOutputs = Annotated[
    str | None,
    typer.Option(
        help="Arrays in and out: end-to-end (on the host) or bound (on the device), separated by commas."
        " Default: end-to-end; both on CUDA."
    ),
]
_Rounds = Annotated[int, typer.Option(min=5, help="Turns of each backend, whose spread gives the intervals.")]
_ServerRates = Annotated[
    str | None, typer.Option(help="Server scenario: rates in queries of one image a second, separated by commas.")
]
_P99 = Annotated[float, typer.Option(help="p99 latency limit of the server scenario, in ms.")]
_Output = Annotated[Path | None, typer.Option(help="JSON file for the results.")]
_Html = Annotated[Path | None, typer.Option(help="Self-contained HTML page for the results.")]
_Baseline = Annotated[Path | None, typer.Option(help="Earlier --output of this machine; exit 6 if slower.")]
_MaxRegression = Annotated[str | None, typer.Option(help="Allowed slowdown against the baseline; default: 10%.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    context: typer.Context,
    export_dir_path: ExportDirOption,
    batch_sizes: _BatchSizes = "1,32,256,1024",
    threads: _Threads = "1,2",
    backends: _Backends = None,
    device: _Device = "cpu",
    io: _InputsOutputs = None,
    rounds: _Rounds = 10,
    server_rates: _ServerRates = None,
    p99_ms: _P99 = 10.0,
    output: _Output = None,
    html: _Html = None,
    baseline: _Baseline = None,
    max_regression: _MaxRegression = None,
    trust: TrustOption = False,
) -> None:
    """Measure speed on every backend.

    Measures throughput and latency percentiles of the classifier by batch size and threads, with a process for each
    backend. The outputs of timed runs are checked. Exit 6 if a backend is slower than --baseline allows.
    """
    from aae_toolkit.backends.registry import parse_backends
    from aae_toolkit.bench import Effort, parse_sizes
    from aae_toolkit.bench import bench as run_bench
    from aae_toolkit.bench.baseline import parse_regression, read_baseline
    from aae_toolkit.bench.scenarios import parse_ios, parse_rates
    from aae_toolkit.export.directory import ExportDirectory

    sizes, n_threads = parse_sizes("--batch-sizes", batch_sizes), parse_sizes("--threads", threads)
    names, ios, rates = parse_backends(backends), parse_ios(io, device), parse_rates(server_rates)
    if not p99_ms > 0:
        raise UsageError(f"--p99-ms {p99_ms:g}: give a positive number of milliseconds")
    if max_regression is not None and baseline is None:
        raise UsageError("--max-regression needs --baseline, an earlier --output to compare with")
    allowed = parse_regression(max_regression or "10%")
    earlier = None if baseline is None else read_baseline(baseline)
    require_writable("--output", output)
    require_writable("--html", html)
    progress = ConsoleProgress()
    export = ExportDirectory.open(export_dir_path, trust=trust)
    report = run_bench(
        export,
        *(sizes, n_threads, names),
        device=device,
        ios=ios,
        server_rates=rates,
        p99_ms=p99_ms,
        effort=Effort(rounds=rounds),
        baseline=earlier,
        progress=progress,
    )
    show(report, progress)
    _write(report, export, output, html, command_line(context), progress)
    if earlier is not None:
        progress.say(earlier.judge(report.results, allowed))


def _write(
    report: BenchReport,
    export: ExportDirectory,
    output: Path | None,
    html: Path | None,
    made_by: str,
    progress: ConsoleProgress,
) -> None:
    """Write the requested files."""
    from aae_toolkit.bench.bench_page import write_page
    from aae_toolkit.files import write_json

    if output is not None:
        write_json(output, report.to_json())
        progress.say(f"written to {output}")
    if html is not None:
        write_page(html, report, export.manifest, made_by)
        progress.say(f"page written to {html}")


def show(report: BenchReport, progress: ConsoleProgress) -> None:
    """Print the measurements for people."""
    environment = report.environment
    table = Table(title=f"classifier on {environment.get('gpu') or environment['cpu']}, {environment['cores']} cores")
    left = ("backend", "fed")
    columns = ("threads", "batch", "fed", "backend", "images/s", "p50 ms", "95% interval", "p99 ms", "over eager")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    previous = None
    timed = [m for m in report.results if m.rate is None]
    for m in timed:
        cell = (m.threads, m.batch_size, m.io)
        if previous not in (None, cell):
            table.add_section()
        previous = cell
        speed = f"{m.images_per_second:,.0f}", f"{m.latency_ms['p50']:.3f}{'' if m.stable else '*'}"
        spread = _interval(m.latency_interval_ms, 3), f"{m.latency_ms['p99']:.3f}"
        table.add_row(str(m.threads), str(m.batch_size), m.io, m.title, *speed, *spread, _speedup(m))
    if not all(m.stable for m in timed):
        table.caption = "* had not settled when its warm-up ended"
    progress.console.print(table)
    _show_loads(report.results, progress)
    _show_served([m for m in report.results if m.rate is not None], progress)


def _show_loads(results: list[Measurement], progress: ConsoleProgress) -> None:
    from aae_toolkit.bench.results import last_of_each_process

    table = Table(title="before the first answer, and memory")
    for column in ("threads", "backend", "import s", "load s", "first run ms", "peak MiB", "file MB"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    for m in last_of_each_process(results):
        took = f"{m.import_seconds:.2f}", f"{m.load_seconds:.2f}", f"{m.first_run_ms:.1f}"
        table.add_row(str(m.threads), m.title, *took, f"{m.peak_rss_mib:.0f}", f"{m.file_bytes / 1e6:.2f}")
    progress.console.print(table)


def _show_served(served: list[Measurement], progress: ConsoleProgress) -> None:
    if not served:
        return
    table = Table(title=f"server: one image a query, p99 held against {served[0].p99_bound_ms:g} ms")
    for column in ("threads", "queries/s", "backend", "answered/s", "p50 ms", "p90 ms", "p99 ms", "p99"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    for m in served:
        latency = [f"{m.latency_ms[p]:.3f}" for p in ("p50", "p90", "p99")]
        verdict = "within" if m.within_bound else "BEYOND"
        table.add_row(str(m.threads), f"{m.rate:g}", m.title, f"{m.images_per_second:,.0f}", *latency, verdict)
    progress.console.print(table)


def _interval(interval: tuple[float, float] | None, digits: int) -> str:
    return "-" if interval is None else f"{interval[0]:.{digits}f}-{interval[1]:.{digits}f}"


def _speedup(m: Measurement) -> str:
    if m.speedup_over_eager is None:
        return "-"
    if m.is_reference:
        return "1.00x"
    if not m.differs_from_eager:
        return "no difference"
    interval = "" if m.speedup_interval is None else f" ({_interval(m.speedup_interval, 2)})"
    return f"{m.speedup_over_eager:.2f}x{interval}"
