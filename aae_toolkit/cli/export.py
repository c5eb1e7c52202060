"""`aae export`: write the export directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption
from aae_toolkit.export.contract import Format


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    model_dir_path: ModelDirOption,
    output_dir_path: Annotated[Path | None, typer.Option(help="Export directory; default: <model>/export.")] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        list[Format] | None,
        typer.Option(help="Give it once per format; default: all. TorchScript is deprecated upstream."),
    ] = None,
) -> None:
    """Write files that deploy anywhere.

    Classifier, encoder and decoder, in each format, with checksums, golden vectors and a model card.
    """
    from aae_toolkit.export.writer import export_model

    progress = ConsoleProgress()
    output_dir = output_dir_path or model_dir_path / "export"
    formats = tuple(name for name in Format if format is None or name in format)
    manifest = export_model(model_dir_path, output_dir, formats, progress)
    for entry in manifest.artifacts:
        opset = f"  opset {entry.opset}, IR {entry.ir_version}" if entry.opset else ""
        progress.say(f"{entry.file:<28} {entry.size_bytes / 1e6:8.2f} MB{opset}")
    progress.say(f"{len(manifest.artifacts)} artifacts written to {output_dir}")
