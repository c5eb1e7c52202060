"""Writer of an export directory from a model directory."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from aae_toolkit import __version__
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ARTIFACTS, IMAGE, REDUCED, ArtifactName, Format, contract_of
from aae_toolkit.export.directory import CARD_FILE, ExportDirectory
from aae_toolkit.export.formats import OPSET, SUFFIXES, write_artifact
from aae_toolkit.export.golden import compute_golden, write_golden
from aae_toolkit.export.image_classifier import write_image_classifier
from aae_toolkit.export.manifest import FILE_NAME as MANIFEST_FILE
from aae_toolkit.export.manifest import IMAGE_FILE, WEIGHTS_FILE, ArtifactEntry, Manifest, golden_file, reduced_file
from aae_toolkit.export.metadata import metadata_of
from aae_toolkit.files import sha256, write_bytes, write_text
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.directory import TrainedModel, load_model, single_file
from aae_toolkit.progress import Progress

_MOST_ONNX_BYTES = 2**31 - 2**20


def export_model(
    model_dir: Path,
    output_dir: Path,
    formats: tuple[Format, ...],
    progress: Progress,
    *,
    opset: int = OPSET,
    device: str = "cpu",
    whole_images: bool = False,
) -> ExportDirectory:
    """Write every artifact in every format, then the manifest that makes the directory an export; return it opened.

    Args:
        model_dir: model directory of a trained model.
        output_dir: export directory; an earlier export there is removed first.
        formats: file formats, at least one.
        progress: receives a step for each artifact.
        opset: operator set of ONNX files.
        device: target device of AOTInductor.
        whole_images: also write the classifier of decoded images of any size; `formats` has ONNX then.

    Raises:
        AaeError: the model cannot be read or has no trained decoder, or the directory cannot be written or is locked by
            another process; or whole images are asked for, and the model was trained on arrays.
    """
    model = load_model(model_dir)
    model.description.require_decoder()
    if whole_images:
        model.description.require_preparation()
    try:
        with lock_directory(output_dir, progress):
            return _write(model, output_dir, formats, progress, opset, device, whole_images)
    except OSError as error:
        raise AaeError(f"export directory {output_dir} cannot be written: {error.strerror or error}") from error


def _write(
    model: TrainedModel,
    output_dir: Path,
    formats: tuple[Format, ...],
    progress: Progress,
    opset: int,
    device: str,
    whole_images: bool,
) -> ExportDirectory:
    """Remove an earlier export, its manifest first; then write the files, and their manifest last."""
    description, modules = model.description, model.deployed()
    artifacts = [f"{artifact}{suffix}" for artifact in ARTIFACTS for suffix in SUFFIXES.values()]
    reduced = [name(p) for p in REDUCED for name in (reduced_file, golden_file)]
    for stale in (MANIFEST_FILE, CARD_FILE, IMAGE_FILE, *artifacts, *reduced):
        (output_dir / stale).unlink(missing_ok=True)
    write_bytes(output_dir / WEIGHTS_FILE, single_file(model))
    if Format.ONNX in formats and (output_dir / WEIGHTS_FILE).stat().st_size >= _MOST_ONNX_BYTES:
        raise AaeError("an ONNX file holds at most 2 GiB, and this backbone has more; leave out --format onnx")
    weights_sha256 = sha256(output_dir / WEIGHTS_FILE)
    write_text(output_dir / DESCRIPTION_FILE, description.model_dump_json(indent=2) + "\n")
    write_golden(output_dir, compute_golden(model))
    wanted: list[tuple[Format, ArtifactName]] = [(format_, artifact) for format_ in formats for artifact in ARTIFACTS]
    if whole_images:
        wanted.append((Format.ONNX, IMAGE))  # after classifier.onnx, of which it is made
    entries = []
    for format_, artifact in progress.track(wanted, "export", len(wanted)):
        contract = contract_of(artifact, description)
        metadata = metadata_of(artifact, contract, description, weights_sha256)
        if artifact == IMAGE:
            path = output_dir / IMAGE_FILE
            facts = write_image_classifier(description, contract, output_dir / "classifier.onnx", path, metadata)
        else:
            path = output_dir / f"{artifact}{SUFFIXES[format_]}"
            facts = write_artifact(format_, modules[artifact], contract, path, metadata, opset=opset, device=device)
        entries.append(
            ArtifactEntry(
                file=path.name,
                artifact=artifact,
                format=format_,
                contract=contract,
                size_bytes=path.stat().st_size,
                **facts,
            )
        )
    names = [WEIGHTS_FILE, DESCRIPTION_FILE, golden_file(), *(entry.file for entry in entries)]
    manifest = Manifest(
        toolkit_version=__version__,
        variant=description.variant,
        versions={package: version(package) for package in ("torch", "onnx", "onnxscript", "numpy")},
        artifacts=tuple(entries),
        preparation=description.preparation and description.preparation.in_words(),
        unfinished=description.unfinished,
        sha256={name: sha256(output_dir / name) for name in names},
    )
    return ExportDirectory(output_dir, manifest, description).recorded()
