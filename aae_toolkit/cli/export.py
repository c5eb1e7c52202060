"""`aae export`: write the export directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.errors import UsageError
from aae_toolkit.export.contract import Format


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    model_dir_path: Annotated[Path | None, typer.Option(help="A trained model.")] = None,
    output_dir_path: Annotated[Path | None, typer.Option(help="Export directory; default: <model>/export.")] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        list[Format] | None,
        typer.Option(help="Give it once per format; default: all. TorchScript is deprecated upstream."),
    ] = None,
    opset: Annotated[int, typer.Option(min=18, max=25, help="Operator set of ONNX files.")] = 18,
    verify: Annotated[
        Path | None,
        typer.Option(help="Write nothing: check this export directory's files by its checksums and golden vectors."),
    ] = None,
) -> None:
    """Write files that deploy anywhere.

    Classifier, encoder and decoder, in each format, with checksums, golden vectors and a model card. With --verify,
    each file of an export that came from elsewhere has to give its golden vectors again; exit 3 where one does not.
    """
    progress = ConsoleProgress()
    if (verify is None) == (model_dir_path is None):
        raise UsageError("give --model-dir-path, to export a model, or --verify, to check an export; one of them")
    if verify is not None:
        if output_dir_path is not None or format is not None:
            raise UsageError("--verify writes nothing: leave out --output-dir-path and --format")
        _verify(verify, progress)
        return
    assert model_dir_path is not None
    from aae_toolkit.export.writer import export_model

    output_dir = output_dir_path or model_dir_path / "export"
    formats = tuple(name for name in Format if format is None or name in format)
    manifest = export_model(model_dir_path, output_dir, formats, progress, opset=opset)
    for entry in manifest.artifacts:
        read_back = f"  opset {entry.opset}, IR {entry.ir_version}" if entry.opset else ""
        progress.say(f"{entry.file:<28} {entry.size_bytes / 1e6:8.2f} MB{read_back}")
    progress.say(f"{len(manifest.artifacts)} artifacts written to {output_dir}")


def _verify(export_dir: Path, progress: ConsoleProgress) -> None:
    from aae_toolkit.cli.parity import show
    from aae_toolkit.parity import replay_golden

    report = replay_golden(export_dir, progress=progress)
    show(report, progress)
    report.require()
    progress.say(f"{export_dir}: every checksum holds, and all {len(report.results)} replays give the golden vectors")
