"""`aae bench`: measure throughput and latency of the classifier on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_toolkit.cli.options import (
    ConsoleProgress,
    ExportDirOption,
    QuietOption,
    RunDeviceOption,
    TrustOption,
    command_line,
    require_writable,
)
from aae_toolkit.cli.showing import show_bench
from aae_toolkit.errors import UsageError

if TYPE_CHECKING:
    from aae_toolkit.bench.results import BenchReport
    from aae_toolkit.export.directory import ExportDirectory


_BatchSizes = Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes to measure.")]
_Threads = Annotated[str, typer.Option(metavar="N,N,...", help="Numbers of threads to measure (within one operator).")]
_Backends = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME,...",
        help="Backends to measure, of eager, compiled, torchscript, torch-export, aoti and onnxruntime; default: all.",
        autocompletion=lambda: ["eager", "compiled", "torchscript", "torch-export", "aoti", "onnxruntime"],
    ),
]
_InputsOutputs = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="Place of inputs and outputs: the computer's memory (end-to-end) or the device's (bound). Default:"
        " end-to-end; on CUDA both.",
        autocompletion=lambda: ["end-to-end", "bound", "end-to-end,bound"],
    ),
]
_Rounds = Annotated[int, typer.Option(min=5, help="Measurement rounds per backend.")]
_ServerRates = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="Simulate a server at these requests per second, of one image each."),
]
_P99 = Annotated[float, typer.Option(metavar="MS", help="p99 latency target of the server, in ms.")]
_Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="JSON file to write.")]
_Html = Annotated[Path | None, typer.Option(metavar="FILE", help="HTML page to write, with charts.")]
_Baseline = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Compare with an earlier --output of this machine.")
]
_MaxRegression = Annotated[
    str | None, typer.Option(metavar="PERCENT", help="Slowdown to allow against --baseline; default: 10%.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    context: typer.Context,
    export_dir_path: ExportDirOption,
    batch_sizes: _BatchSizes = "1,32,256,1024",
    threads: _Threads = "1,2",
    backends: _Backends = None,
    device: RunDeviceOption = "cpu",
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
    """Measure the speed of every backend.

    Measures images per second and latency of the classifier, for each batch size and number of threads, in a process
    for each backend. The outputs of timed runs are checked. Exit status 6 if a backend is slower than --baseline
    allows.
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
