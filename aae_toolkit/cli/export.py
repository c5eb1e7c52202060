"""`aae export`: write an export directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption, QuietOption
from aae_toolkit.errors import AaeError, DeviceError, GateError, UsageError
from aae_toolkit.export.contract import REDUCED, Format, Precision

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.directory import ExportDirectory


InputOption = Annotated[
    Literal["array", "image"],
    typer.Option(
        help="Input of the classifier. array: pixels as the network takes them; image: also write"
        " classifier.image.onnx, which takes decoded images of any size."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    model_dir_path: ModelDirOption,
    output_dir_path: Annotated[
        Path | None, typer.Option("--output", "-o", help="Export directory; default: <model>/export.")
    ] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        list[Format] | None,
        typer.Option(
            help="File format; repeat for several. Default: all except aoti, which is compiled for this machine alone."
            " PyTorch has deprecated TorchScript."
        ),
    ] = None,
    input: InputOption = "array",  # noqa: A002  (likewise)
    opset: Annotated[int | None, typer.Option(min=18, max=25, help="Operator set of ONNX files; default: 18.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Also write classifier.int8.onnx, for processors.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also write classifier.fp16.onnx, for GPUs.")] = False,
    dir_path: Annotated[
        Path | None, typer.Option("--data", help="Data directory that calibrates and judges reduced precision.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Keep a file of reduced precision even if it fails its checks.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="Device for AOTInductor and for judging fp16: cpu or cuda.")
    ] = "cpu",
    quiet: QuietOption = False,
) -> None:
    """Export a model to ONNX, TorchScript and torch.export.

    Writes classifier, encoder and decoder in each format, with checksums, golden vectors and a model card. --int8 and
    --fp16 add a classifier of reduced precision if it keeps its accuracy on validation images and is smaller and faster
    here; otherwise the command keeps the other files and exits with status 4.
    """
    reduced = tuple(p for p, asked in zip(REDUCED, (fp16, int8), strict=True) if asked)
    _require_what_reduced_needs(reduced, format, dir_path)
    _require_onnx(input, format)
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.formats import DEFAULT_FORMATS, OPSET
    from aae_toolkit.export.writer import export_model
    from aae_toolkit.files import require_own
    from aae_toolkit.files.lock import lock_directory

    progress = ConsoleProgress(quiet=quiet)
    output_dir = output_dir_path or model_dir_path / "export"
    if output_dir_path is None:
        require_own(output_dir)
    formats = tuple(name for name in Format if name in (format or DEFAULT_FORMATS))
    _require_device(device, formats, reduced)
    data = DataDirectory(dir_path) if dir_path is not None else None
    opset = opset or OPSET
    written = export_model(
        model_dir_path, output_dir, formats, progress, opset=opset, device=device, whole_images=input == "image"
    )
    _show(written, progress)
    if data is not None:
        with lock_directory(output_dir, progress):
            _reduce(written, reduced, data, device, force, opset, progress)


def _show(export: ExportDirectory, progress: ConsoleProgress) -> None:
    for entry in export.artifacts:
        read_back = f"  opset {entry.opset}, IR {entry.ir_version}" if entry.opset else ""
        progress.say(f"{entry.file:<28} {entry.size_bytes / 1e6:8.2f} MB{read_back}")
    progress.say(f"{len(export.artifacts)} artifacts written to {export.path}")


def _require_what_reduced_needs(
    reduced: tuple[Precision, ...], formats: list[Format] | None, data: Path | None
) -> None:
    if reduced and data is None:
        raise UsageError(f"--{reduced[0]} needs images to be calibrated and judged on; give --data")
    if reduced and formats and Format.ONNX not in formats:
        raise UsageError(f"--{reduced[0]} is judged against the float32 ONNX file; add --format onnx")


def _require_onnx(input_: str, formats: list[Format] | None) -> None:
    if input_ == "image" and formats and Format.ONNX not in formats:
        raise UsageError("--input image writes an ONNX file, made of classifier.onnx; add --format onnx")


def _require_device(device: str, formats: tuple[Format, ...], reduced: tuple[Precision, ...]) -> None:
    """Raise `AaeError` if a device or compiler is missing, before an earlier export is replaced."""
    from aae_toolkit.backends.registry import require_device_name
    from aae_toolkit.machine.device import resolve_device
    from aae_toolkit.machine.environment import can_compile

    require_device_name(device)
    if reduced or Format.AOTI in formats:
        resolve_device(device)
    if Format.AOTI in formats and not can_compile():
        raise AaeError("AOTInductor needs a C++ compiler, and found none; install g++, or leave out --format aoti")


def _reduce(
    export: ExportDirectory,
    precisions: tuple[Precision, ...],
    data: DataDirectory,
    device: str,
    force: bool,
    opset: int,
    progress: ConsoleProgress,
) -> None:
    """Add each precision that passes, then raise the first refusal. int8 is judged on the CPU, fp16 on `device`."""
    from aae_toolkit.parity.reduction import add_reduced

    refused: AaeError | None = None
    for precision in precisions:
        try:
            where = "cpu" if precision == "int8" else device
            export = add_reduced(export, precision, data, device=where, force=force, opset=opset, progress=progress)
        except (GateError, DeviceError) as error:
            refused = refused or error
    if refused is not None:
        raise refused
