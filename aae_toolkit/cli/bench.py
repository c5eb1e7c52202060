"""`aae bench`: throughput and latency of the classifier on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, ExportDirOption
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    from aae_toolkit.bench import BenchReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    export_dir_path: ExportDirOption,
    batch_sizes: Annotated[str, typer.Option(help="Images a run, separated by commas.")] = "1,32,256,1024",
    threads: Annotated[str, typer.Option(help="Threads within one operator, separated by commas.")] = "1,2",
    backends: Annotated[str | None, typer.Option(help="eager,compiled,torchscript,torch-export,onnxruntime.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where they run: cpu, cuda or cuda:<index>.")] = "cpu",
    output: Annotated[Path | None, typer.Option(help="JSON file for the results.")] = None,
) -> None:
    """Measure speed on every backend.

    Images per second and latency percentiles of the classifier, by batch size and threads.
    """
    from aae_toolkit.backends.base import parse_backends
    from aae_toolkit.bench import bench as run_bench
    from aae_toolkit.bench import parse_sizes
    from aae_toolkit.files import write_json

    sizes, n_threads = parse_sizes("--batch-sizes", batch_sizes), parse_sizes("--threads", threads)
    progress = ConsoleProgress()
    report = run_bench(export_dir_path, sizes, n_threads, parse_backends(backends), device=device, progress=progress)
    show(report, progress)
    if output is not None:
        try:
            write_json(output, report.to_json())
        except OSError as error:
            raise AaeError(f"--output {output} cannot be written: {error.strerror or error}") from error
        progress.say(f"written to {output}")


def show(report: BenchReport, progress: ConsoleProgress) -> None:
    """Print the measurements for people."""
    environment = report.environment
    table = Table(title=f"classifier on {environment['cpu']}, {environment['cores']} cores")
    columns = ("threads", "batch", "backend", "images/s", "p50 ms", "p90 ms", "p99 ms", "over eager")
    for column in columns:
        table.add_column(column, justify="left" if column == "backend" else "right")
    previous = None
    for m in report.results:
        cell = (m.threads, m.batch_size)
        if previous not in (None, cell):
            table.add_section()
        previous = cell
        latency = [f"{m.latency_ms[p]:.3f}" for p in ("p50", "p90", "p99")]
        speedup = "-" if m.speedup_over_eager is None else f"{m.speedup_over_eager:.2f}x"
        table.add_row(str(m.threads), str(m.batch_size), m.backend, f"{m.images_per_second:,.0f}", *latency, speedup)
    progress.console.print(table)
