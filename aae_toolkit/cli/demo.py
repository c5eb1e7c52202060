"""`aae demo`: the whole pipeline on data that ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, QuietOption
from aae_toolkit.cli.showing import dataset_line, show_bench, show_parity
from aae_toolkit.cli.training_run import TrainingOptions, run_training
from aae_toolkit.config import VARIANTS
from aae_toolkit.errors import ParityError
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.bench.results import BenchReport
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.parity.check import ParityReport

_BATCH_SIZES = (1, 256)  # that are measured


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    output_dir_path: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for all results; replaces an earlier demo there.")
    ] = Path("aae-demo"),
    quiet: QuietOption = False,
) -> None:
    """Run the whole pipeline on a small data set.

    Trains both variants on scikit-learn's digits, draws pictures, exports, proves parity, measures speed and writes a
    report. Needs no network.
    """
    progress = ConsoleProgress(quiet=quiet)
    data = _write_digits(output_dir_path / "data", progress)
    summary = Table(title="demo: scikit-learn digits, 8 x 8 pixels")
    for column in ("variant", "test accuracy", "parity", *(f"fastest at batch {size}" for size in _BATCH_SIZES)):
        summary.add_column(column)
    refused = []
    for variant in VARIANTS:
        name = variant.replace("_", "-")
        progress.say("")
        progress.say(f"== {name} ==")
        model_dir = output_dir_path / variant
        run_training(TrainingOptions(variant, data.path, model_dir, "digits", overwrite=True, quiet=quiet))
        accuracy = _draw_and_score(model_dir, data, progress)
        proof, measured = _export_and_measure(model_dir, data, progress)
        _write_report(model_dir, data, output_dir_path, progress)
        summary.add_row(name, percent(accuracy), "proven" if proof else "REFUSED", *_fastest(measured))
        refused += [variant] if not proof else []
    progress.say("")
    progress.console.print(summary)
    progress.say(
        f"everything is under {output_dir_path}: models, pictures (visualization/), exports (export/), report.html"
    )
    progress.say(f"try: aae predict --model {output_dir_path}/semi_supervised/export/classifier.onnx <image files>")
    if refused:
        raise ParityError(f"parity refused for {', '.join(refused)}")


def _write_digits(data_dir: Path, progress: ConsoleProgress) -> DataDirectory:
    from aae_toolkit.data.directory import DataDirectory, write_data_directory
    from aae_toolkit.data.sources import load_source

    digits = load_source("digits", None, data_dir / "raw", (1, 8, 8), progress=progress)
    index = write_data_directory(data_dir, digits, None, None, None, seed=0, overwrite=True, progress=progress)
    progress.say(dataset_line(index))
    progress.say(f"written to {data_dir}")
    return DataDirectory(data_dir)


def _draw_and_score(model_dir: Path, data: DataDirectory, progress: ConsoleProgress) -> float:
    """Draw the pictures of a trained model; return its accuracy on the test images, in [0, 1]."""
    from aae_toolkit.evaluation import evaluate
    from aae_toolkit.models.directory import load_model
    from aae_toolkit.visualization.pictures import DIRECTORY, draw_all

    model = load_model(model_dir)
    draw_all(model, data.load("validation"), model_dir / DIRECTORY, progress)
    return evaluate(model, data.load("test"), "test").accuracy


def _export_and_measure(
    model_dir: Path, data: DataDirectory, progress: ConsoleProgress
) -> tuple[ParityReport, BenchReport]:
    """Export a model, check the parity of every file, and measure the speed of every backend."""
    from aae_toolkit.backends.registry import BACKENDS
    from aae_toolkit.bench import Effort, bench
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.export.formats import DEFAULT_FORMATS
    from aae_toolkit.export.writer import export_model
    from aae_toolkit.files import write_json
    from aae_toolkit.parity.check import check_parity

    export_model(model_dir, model_dir / "export", DEFAULT_FORMATS, progress)
    export = ExportDirectory.open(model_dir / "export")  # the files as a user would find them
    proof = check_parity(export, data.load("test"), "test", progress=progress)
    show_parity(proof, progress)
    quick = Effort(rounds=5, seconds=0.05, warm_up_seconds=0.5)
    measured = bench(export, _BATCH_SIZES, (1,), BACKENDS, effort=quick, progress=progress)
    show_bench(measured, progress)
    write_json(model_dir / "bench.json", measured.to_json())
    return proof, measured


def _write_report(model_dir: Path, data: DataDirectory, demo_dir: Path, progress: ConsoleProgress) -> None:
    from aae_toolkit.html.rendering import command
    from aae_toolkit.report.contents import Sources, gather
    from aae_toolkit.report.evidence import open_export
    from aae_toolkit.report.report_page import write_report

    sources = Sources(model_dir, open_export(model_dir, None), model_dir / "bench.json", data.path, "test")
    made_by = command("aae", "demo", "--output", demo_dir)
    progress.say(write_report(model_dir / "report.html", gather(sources, progress), made_by))


def _fastest(measured: BenchReport) -> list[str]:
    """Return the fastest backend at each batch size, with its images per second."""
    fastest = [
        max((m for m in measured.results if m.batch_size == size), key=lambda m: m.images_per_second)
        for size in _BATCH_SIZES
    ]
    return [f"{m.backend}, {m.images_per_second:,.0f} images/s" for m in fastest]
