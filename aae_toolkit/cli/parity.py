"""`aae parity`: prove, or refute, that every artifact is the same classifier."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import (
    ConsoleProgress,
    DataDirOption,
    ExportDirOption,
    JsonOption,
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
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which images to compare on.")] = "test",
    device: Annotated[str, typer.Option("--device", help="Where artifacts run: cpu, cuda or cuda:<index>.")] = "cpu",
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Say at which node a refused ONNX file parts from the model.")
    ] = False,
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Prove that exported files are the model.

    Runs every artifact over a whole split, and over black, white and noisy images, and compares it with the trained
    model; ONNX files by the standard's own evaluator too. Exit 3 where one differs.
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
        show_parity(report, progress)
    report.require()
