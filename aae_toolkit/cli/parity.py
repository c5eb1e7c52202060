"""`aae parity`: prove that every artifact is the same classifier as the trained model, or refuse it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import (
    ConsoleProgress,
    DataDirOption,
    ExportDirOption,
    JsonOption,
    QuietOption,
    TrustOption,
    print_json,
)
from aae_toolkit.cli.showing import show_parity


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
    quiet: QuietOption = False,
) -> None:
    """Prove that exported files match the trained model.

    Runs every artifact on a whole split and on synthetic probes (black, white, noise), and compares its outputs with
    those of the trained model. ONNX files also run on ONNX's reference evaluator. Exit 3 if one differs.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.parity.check import check_parity

    progress = ConsoleProgress(stderr=json, quiet=quiet)
    data = DataDirectory(dir_path)
    images = data.load(split)
    export = ExportDirectory.open(export_dir_path, trust=trust)
    if note := export.description.preparation_note(data):
        progress.say(note)
    report = check_parity(
        export,
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
        show_parity(report, progress)
    report.require()
