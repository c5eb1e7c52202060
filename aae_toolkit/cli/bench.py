"""`aae bench`: throughput and latency of the classifier on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, ExportDirOption, TrustOption, command_line, require_writable
from aae_toolkit.cli.showing import show_bench
from aae_toolkit.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    context: typer.Context,
    export_dir_path: ExportDirOption,
    batch_sizes: Annotated[str, typer.Option(help="Images a run, separated by commas.")] = "1,32,256,1024",
    threads: Annotated[str, typer.Option(help="Threads within one operator, separated by commas.")] = "1,2",
    backends: Annotated[
        str | None, typer.Option(help="eager,compiled,torchscript,torch-export,aoti,onnxruntime.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where they run: cpu, cuda or cuda:<index>.")] = "cpu",
    io: Annotated[
        str | None,
        typer.Option(help="end-to-end: host arrays in and out; bound: all stays on the device. Default: both on CUDA."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=5, help="Turns of each backend; intervals come from their spread.")] = 10,
    server_rates: Annotated[
        str | None, typer.Option(help="Queries of one image a second, separated by commas: the server scenario.")
    ] = None,
    p99_ms: Annotated[float, typer.Option(help="What the server's 99th percentile is held against.")] = 10.0,
    output: Annotated[Path | None, typer.Option(help="JSON file for the results.")] = None,
    html: Annotated[Path | None, typer.Option(help="Page with the results, in one file.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier --output of this machine: exit 6 if slower.")
    ] = None,
    max_regression: Annotated[
        str | None, typer.Option(help="How much slower than the baseline is allowed; default: 10%.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Measure speed on every backend.

    Images per second and latency percentiles of the classifier, by batch size and threads, each backend in a process of
    its own. The outputs of timed runs are checked. Exit 6 where a --baseline is given and a backend is slower.
    """
    from aae_toolkit.backends.base import parse_backends
    from aae_toolkit.bench import Effort, parse_sizes
    from aae_toolkit.bench import bench as run_bench
    from aae_toolkit.bench.baseline import parse_regression, read_baseline
    from aae_toolkit.bench.scenarios import parse_ios, parse_rates
    from aae_toolkit.files import write_json

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
    report = run_bench(
        export_dir_path,
        sizes,
        n_threads,
        names,
        device=device,
        ios=ios,
        server_rates=rates,
        p99_ms=p99_ms,
        effort=Effort(rounds=rounds),
        baseline=earlier,
        trust=trust,
        progress=progress,
    )
    show_bench(report, progress)
    if output is not None:
        write_json(output, report.to_json())
        progress.say(f"written to {output}")
    if html is not None:
        from aae_toolkit.bench.bench_page import write_page
        from aae_toolkit.export.manifest import read_manifest

        write_page(html, report, read_manifest(export_dir_path, trust=trust), command_line(context))
        progress.say(f"page written to {html}")
    if earlier is not None:
        progress.say(earlier.judge(report.results, allowed))
