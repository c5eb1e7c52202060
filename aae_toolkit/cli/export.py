"""`aae export`: write an export directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption, QuietOption
from aae_toolkit.cli.showing import show_epochs
from aae_toolkit.errors import AaeError, DeviceError, GateError, UsageError
from aae_toolkit.export.contract import REDUCED, Format, Precision

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.directory import ExportDirectory


InputOption = Annotated[
    Literal["array", "image"],
    typer.Option(
        help="Input of the classifier: images of the network's size only (array), or also decoded images of any size"
        " (image), which classifier.image.onnx takes."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    model_dir_path: ModelDirOption,
    output_dir_path: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Export directory to write; default: <model>/export."),
    ] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        list[Format] | None,
        typer.Option(
            help="File format; repeat the flag for several. Default: all but aoti, whose files run on this kind of"
            " machine only. PyTorch has deprecated TorchScript."
        ),
    ] = None,
    input: InputOption = "array",  # noqa: A002  (likewise)
    opset: Annotated[
        int | None, typer.Option(min=18, max=25, help="Version of the ONNX operators; default: 18.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Also export int8 (CPU); needs --data.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also export fp16 (GPU); needs --data.")] = False,
    dir_path: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Data directory, whose images check int8 and fp16.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep int8 or fp16 even if the checks fail.")] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="cpu|cuda", help="Device for AOTInductor and the fp16 checks.")
    ] = "cpu",
    quiet: QuietOption = False,
) -> None:
    """Export a model to ONNX, TorchScript and torch.export.

    Writes classifier, encoder and decoder in each format, with checksums, inputs and outputs to compare with (golden
    vectors), and a model card. --int8 and --fp16 add a smaller classifier, if it keeps the accuracy on validation
    images and is faster here; if not, the exit status is 4 and the other files stay.
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
    show_epochs(written.description, progress)
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
