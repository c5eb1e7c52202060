"""`aae demo`: the whole pipeline on data that ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.text import percent


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    output_dir_path: Annotated[
        Path, typer.Option(help="Where everything is written; an earlier demo there is replaced.")
    ] = Path("aae-demo"),
) -> None:
    """Run the whole pipeline on small data.

    Trains both variants on scikit-learn's digits, draws, exports, proves parity, measures speed and writes a report;
    no network needed.
    """
    from aae_toolkit.backends.registry import BACKENDS
    from aae_toolkit.bench import Effort
    from aae_toolkit.bench import bench as run_bench
    from aae_toolkit.cli import bench, parity
    from aae_toolkit.cli.init_datasets import init_datasets
    from aae_toolkit.cli.train import run_training
    from aae_toolkit.config import VARIANTS
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.errors import ParityError
    from aae_toolkit.evaluation import evaluate
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.export.formats import DEFAULT_FORMATS
    from aae_toolkit.export.writer import export_model
    from aae_toolkit.files import write_json
    from aae_toolkit.html.rendering import command
    from aae_toolkit.models.directory import load_model
    from aae_toolkit.parity.check import check_parity
    from aae_toolkit.report.contents import Sources, gather
    from aae_toolkit.report.evidence import open_export
    from aae_toolkit.report.report_page import write_report
    from aae_toolkit.visualization.pictures import draw_all

    quick = Effort(rounds=5, seconds=0.05, warm_up_seconds=0.5)
    progress = ConsoleProgress()
    data_dir = output_dir_path / "data"
    init_datasets(data_dir, source="digits", overwrite=True)
    data = DataDirectory(data_dir)
    validation, test = data.load("validation"), data.load("test")

    summary = Table(title="demo: scikit-learn digits, 8 x 8 pixels")
    for column in ("variant", "test accuracy", "parity", "fastest at batch 1", "fastest at batch 256"):
        summary.add_column(column)
    refused = []
    for variant in VARIANTS:
        progress.say("")
        progress.say(f"== {variant.replace('_', '-')} ==")
        model_dir = output_dir_path / variant
        run_training(variant, data_dir, model_dir, "digits", {}, "auto", resume=False, overwrite=True)
        model = load_model(model_dir)
        draw_all(model, validation, model_dir / "visualization", progress)
        export_dir = model_dir / "export"
        export_model(model_dir, export_dir, DEFAULT_FORMATS, progress)
        export = ExportDirectory.open(export_dir)  # the files as they lie there
        proof = check_parity(export, test, "test", progress=progress)
        parity.show(proof, progress)
        measured = run_bench(export, (1, 256), (1,), BACKENDS, effort=quick, progress=progress)
        bench.show(measured, progress)
        write_json(model_dir / "bench.json", measured.to_json())
        sources = Sources(model_dir, open_export(model_dir, export_dir), model_dir / "bench.json", data_dir, "test")
        made_by = command("aae", "demo", "--output-dir-path", output_dir_path)
        progress.say(write_report(model_dir / "report.html", gather(sources, progress), made_by))
        fastest = [
            max((m for m in measured.results if m.batch_size == b), key=lambda m: m.images_per_second) for b in (1, 256)
        ]
        summary.add_row(
            variant.replace("_", "-"),
            percent(evaluate(model, test, "test").accuracy),
            "proven" if proof else "REFUSED",
            *(f"{m.backend}, {m.images_per_second:,.0f} images/s" for m in fastest),
        )
        refused += [variant] if not proof else []
    progress.say("")
    progress.console.print(summary)
    progress.say(
        f"everything is under {output_dir_path}: models, pictures (visualization/), exports (export/), report.html"
    )
    progress.say(f"try: aae predict --model {output_dir_path}/semi_supervised/export/classifier.onnx <image files>")
    if refused:
        raise ParityError(f"parity refused for {', '.join(refused)}")
