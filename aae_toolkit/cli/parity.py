"""`aae parity`: prove that every artifact is the same classifier as the trained model, or refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from aae_toolkit.backends.registry import ARBITER
from aae_toolkit.cli.options import (
    ConsoleProgress,
    DataDirOption,
    ExportDirOption,
    JsonOption,
    TrustOption,
    print_json,
)
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.parity.check import ParityReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("parity")(parity)


def parity(
    export_dir_path: ExportDirOption,
    dir_path: DataDirOption,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Split to compare on.")] = "test",
    device: Annotated[str, typer.Option("--device", help="Device to run on: cpu, cuda or cuda:<index>.")] = "cpu",
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Name the node at which a refused ONNX file diverges from the model.")
    ] = False,
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Prove that exported files are the model.

    Runs every artifact on a whole split and on synthetic probes (black, white, noise), and compares its outputs with
    those of the trained model. ONNX files also run on ONNX's reference evaluator. Exit 3 if one differs.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.parity.check import check_parity

    progress = ConsoleProgress(stderr=json)
    data = DataDirectory(dir_path)
    images = data.load(split)
    report = check_parity(
        ExportDirectory.open(export_dir_path, trust=trust),
        images,
        split,
        class_names=data.class_names,
        device=device,
        per_layer=per_layer,
        progress=progress,
    )
    if json:
        print_json(report.to_json())
    else:
        show(report, progress)
    report.require()


def show(report: ParityReport, progress: ConsoleProgress) -> None:
    """Print the comparisons for people."""
    sizes = ", ".join(map(str, report.batch_sizes))
    table = Table(title=f"parity on {report.n} {report.split} images, batch sizes {sizes}")
    for column in ("artifact", "backend", "verdict", "largest difference", "label agreement", "accuracy"):
        table.add_column(column, justify="left" if column in ("artifact", "backend") else "right")
    for r in report.results:
        largest = max((v for k, v in r.max_abs_diff.items() if k not in ("label", "category")), default=float("nan"))
        verdict = "same" if r else "REFUSED"
        of = f" of {r.paired.n}" if r.paired and r.backend == ARBITER else ""
        scores = percent(r.label_agreement), percent(r.accuracy) + of
        table.add_row(r.artifact, r.backend, verdict, f"{largest:.2e}", *scores)
    progress.console.print(table)
    for r in report.results:
        if r.first_difference:
            progress.say(f"{r.artifact} on {r.backend} {r.first_difference}")
    accuracy = "" if report.accuracy is None else f"; accuracy of the trained model {percent(report.accuracy)}"
    progress.say(f"parity: {'proven' if report else 'REFUSED'}{accuracy}")
