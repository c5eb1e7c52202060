"""`aae bench`: measure throughput and latency of the classifier on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_toolkit.cli.options import (
    ConsoleProgress,
    ExportDirOption,
    QuietOption,
    TrustOption,
    command_line,
    require_writable,
)
from aae_toolkit.cli.showing import show_bench
from aae_toolkit.errors import UsageError

if TYPE_CHECKING:
    from aae_toolkit.bench.results import BenchReport
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
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the results.")]
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
    quiet: QuietOption = False,
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
    progress = ConsoleProgress(quiet=quiet)
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
    show_bench(report, progress)
    _write(report, export, output, html, command_line(context), progress)
    if earlier is not None:
        progress.result(earlier.judge(report.results, allowed))


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
