"""`aae export`: write the export directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.environment import can_compile
from aae_toolkit.errors import AaeError, DeviceError, GateError, UsageError
from aae_toolkit.export.contract import REDUCED, Format, Precision
from aae_toolkit.lock import lock_directory

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    model_dir_path: Annotated[Path | None, typer.Option(help="A trained model.")] = None,
    output_dir_path: Annotated[Path | None, typer.Option(help="Export directory; default: <model>/export.")] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        list[Format] | None,
        typer.Option(
            help="Give it once per format; default: all but aoti, which is compiled for this machine alone."
            " TorchScript is deprecated upstream."
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(min=18, max=25, help="Operator set of ONNX files.", show_default="18")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="classifier.int8.onnx too, for processors.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="classifier.fp16.onnx too, for GPUs.")] = False,
    dir_path: Annotated[
        Path | None, typer.Option(help="Data directory; reduced precision is calibrated and judged on it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep reduced precision though it does not pass.")] = False,
    device: Annotated[
        str, typer.Option("--device", help="What aoti is for, where fp16 is judged, and --verify runs: cpu, cuda.")
    ] = "cpu",
    verify: Annotated[
        Path | None,
        typer.Option(help="Write nothing: check this export directory's files by its checksums and golden vectors."),
    ] = None,
) -> None:
    """Write files that deploy anywhere.

    Classifier, encoder and decoder, in each format, with checksums, golden vectors and a model card. With --verify,
    each file of an export that came from elsewhere has to give its golden vectors again; exit 3 where one does not.
    --int8 and --fp16 add a smaller, faster classifier where it keeps its accuracy on validation images; exit 4 where
    it does not, or is no smaller or faster here, and the other files stay.
    """
    progress = ConsoleProgress()
    if (verify is None) == (model_dir_path is None):
        raise UsageError("give --model-dir-path, to export a model, or --verify, to check an export; one of them")
    if verify is not None:
        if output_dir_path or format or opset or int8 or fp16 or dir_path or force:
            raise UsageError("--verify writes nothing: leave out all other flags but --device")
        _verify(verify, device, progress)
        return
    assert model_dir_path is not None
    reduced = tuple(p for p, asked in zip(REDUCED, (fp16, int8), strict=True) if asked)
    if reduced and dir_path is None:
        raise UsageError(f"--{reduced[0]} needs images to be calibrated and judged on; give --dir-path")
    if reduced and format and Format.ONNX not in format:
        raise UsageError(f"--{reduced[0]} is judged against the float32 ONNX file; add --format onnx")
    from aae_toolkit.backends.base import require_device_name
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.device import resolve_device
    from aae_toolkit.export.formats import DEFAULT_FORMATS, OPSET
    from aae_toolkit.export.writer import export_model

    output_dir = output_dir_path or model_dir_path / "export"
    formats = tuple(name for name in Format if name in (format or DEFAULT_FORMATS))
    # what cannot be done is said before an earlier export is replaced
    require_device_name(device)
    if reduced or Format.AOTI in formats:
        resolve_device(device)
    if Format.AOTI in formats and not can_compile():
        raise AaeError("AOTInductor needs a C++ compiler, and found none; install g++, or leave out --format aoti")
    data = DataDirectory(dir_path) if dir_path is not None else None
    manifest = export_model(model_dir_path, output_dir, formats, progress, opset=opset or OPSET, device=device)
    for entry in manifest.artifacts:
        read_back = f"  opset {entry.opset}, IR {entry.ir_version}" if entry.opset else ""
        progress.say(f"{entry.file:<28} {entry.size_bytes / 1e6:8.2f} MB{read_back}")
    progress.say(f"{len(manifest.artifacts)} artifacts written to {output_dir}")
    if data is not None:
        with lock_directory(output_dir, progress):
            _reduce(output_dir, reduced, data, device, force, opset or OPSET, progress)


def _reduce(
    export_dir: Path,
    precisions: tuple[Precision, ...],
    data: DataDirectory,
    device: str,
    force: bool,
    opset: int,
    progress: ConsoleProgress,
) -> None:
    """Add each that passes, and only then refuse the first that does not. int8 is for processors, wherever it is."""
    from aae_toolkit.reduction import add_reduced

    refused: AaeError | None = None
    for precision in precisions:
        try:
            where = "cpu" if precision == "int8" else device
            add_reduced(export_dir, precision, data, device=where, force=force, opset=opset, progress=progress)
        except (GateError, DeviceError) as error:
            refused = refused or error
    if refused is not None:
        raise refused


def _verify(export_dir: Path, device: str, progress: ConsoleProgress) -> None:
    from aae_toolkit.cli.parity import show
    from aae_toolkit.parity import replay_golden

    report = replay_golden(export_dir, device=device, progress=progress)
    show(report, progress)
    report.require()
    progress.say(f"{export_dir}: every checksum holds, and all {len(report.results)} replays give the golden vectors")
