"""`aae export`: write the export directory."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, TrustOption
from aae_toolkit.errors import AaeError, DeviceError, GateError, UsageError
from aae_toolkit.export.contract import REDUCED, Format, Precision
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.machine.environment import can_compile

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
    trust: TrustOption = False,
    web: Annotated[
        Path | None, typer.Option(help="Write a static page too, on which the classifier runs in the browser.")
    ] = None,
    export_dir_path: Annotated[
        Path | None, typer.Option(help="With --web: make the page of this export directory, and export nothing.")
    ] = None,
    web_runtime: Annotated[
        Path | None,
        typer.Option(help="With --web: onnxruntime-web as npm packs it, or its folder; default: npm gets it."),
    ] = None,
) -> None:
    """Write files that deploy anywhere.

    Classifier, encoder and decoder, in each format, with checksums, golden vectors and a model card. With --verify,
    each file of an export that came from elsewhere has to give its golden vectors again; exit 3 where one does not.
    --int8 and --fp16 add a smaller, faster classifier where it keeps its accuracy on validation images; exit 4 where
    it does not, or is no smaller or faster here, and the other files stay. --web adds a page for any web server, of
    this export or of an earlier one.
    """
    progress = ConsoleProgress()
    exports = any((output_dir_path, format, opset, int8, fp16, dir_path, force))
    _require_one_task(model_dir_path, verify, export_dir_path, web, web_runtime, exports)
    if verify is not None:
        _verify(verify, device, trust, progress)
        return
    if trust:
        raise UsageError("--trust is for --verify, which loads what was written elsewhere")
    reduced = tuple(p for p, asked in zip(REDUCED, (fp16, int8), strict=True) if asked)
    _require_what_is_needed(reduced, web, format, dir_path)
    runtime = _runtime_for(web, web_runtime)
    if export_dir_path is not None:
        _write_page(export_dir_path, web, runtime, progress)
        return
    assert model_dir_path is not None
    from aae_toolkit.backends.base import require_device_name
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.formats import DEFAULT_FORMATS, OPSET
    from aae_toolkit.export.writer import export_model
    from aae_toolkit.files import require_own
    from aae_toolkit.machine.device import resolve_device

    output_dir = output_dir_path or model_dir_path / "export"
    if output_dir_path is None:
        require_own(output_dir)
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
    _write_page(output_dir, web, runtime, progress)
    if data is not None:
        with lock_directory(output_dir, progress):
            _reduce(output_dir, reduced, data, device, force, opset or OPSET, progress)


def _require_one_task(
    model: Path | None,
    verify: Path | None,
    export_dir: Path | None,
    web: Path | None,
    runtime: Path | None,
    exports: bool,
) -> None:
    """Export a model, check an export, or make the page of one; `exports`: a flag of the first is there."""
    if sum(path is not None for path in (model, verify, export_dir)) != 1:
        raise UsageError(
            "give --model-dir-path, to export a model, --verify, to check an export, or --export-dir-path with --web,"
            " to make the page of one; one of them"
        )
    if verify is not None and (exports or web or runtime):
        raise UsageError("--verify writes nothing: leave out all other flags but --device and --trust")
    if web is None and (export_dir or runtime):
        raise UsageError("--export-dir-path and --web-runtime are for --web: say where to write the page")
    if export_dir is not None and exports:
        raise UsageError("--export-dir-path exports nothing: leave out all other flags but --web and --web-runtime")


def _require_what_is_needed(
    reduced: tuple[Precision, ...], web: Path | None, format_: list[Format] | None, data: Path | None
) -> None:
    onnx = not format_ or Format.ONNX in format_
    if reduced and data is None:
        raise UsageError(f"--{reduced[0]} needs images to be calibrated and judged on; give --dir-path")
    if reduced and not onnx:
        raise UsageError(f"--{reduced[0]} is judged against the float32 ONNX file; add --format onnx")
    if web is not None and not onnx:
        raise UsageError("--web needs ONNX files; add --format onnx")


def _runtime_for(web: Path | None, own: Path | None) -> dict[str, bytes]:
    """What a page needs of onnxruntime-web, found before anything is replaced; nothing where no page is asked for."""
    if web is None:
        return {}
    from aae_toolkit.web.runtime import runtime_files
    from aae_toolkit.web.web_page import require_place

    require_place(web)
    return runtime_files(own)


def _write_page(export_dir: Path, web: Path | None, runtime: dict[str, bytes], progress: ConsoleProgress) -> None:
    """Write the page, where one is asked for, and say how to see it."""
    if web is None:
        return
    from aae_toolkit.web.web_page import write_page

    sizes = write_page(export_dir, web, runtime)
    progress.say(f"page of {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB, written to {web}; to see it:")
    progress.say(f"python -m http.server --directory {shlex.quote(str(web))}")


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
    from aae_toolkit.parity.reduction import add_reduced

    refused: AaeError | None = None
    for precision in precisions:
        try:
            where = "cpu" if precision == "int8" else device
            add_reduced(export_dir, precision, data, device=where, force=force, opset=opset, progress=progress)
        except (GateError, DeviceError) as error:
            refused = refused or error
    if refused is not None:
        raise refused


def _verify(export_dir: Path, device: str, trust: bool, progress: ConsoleProgress) -> None:
    from aae_toolkit.cli.showing import show_parity
    from aae_toolkit.parity.check import replay_golden

    report = replay_golden(export_dir, device=device, trust=trust, progress=progress)
    show_parity(report, progress)
    report.require()
    checked = "every checksum holds" if not trust else "every checksum that is there holds"
    progress.say(f"{export_dir}: {checked}, and all {len(report.results)} replays give the golden vectors")
