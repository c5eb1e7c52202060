"""Helpers for tests that change an export directory: copies, and manifests that agree with what was changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.export.contract import IMAGE, ArtifactName, Format, Precision, contract_of
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import SUFFIXES, write_artifact
from aae_toolkit.export.image_classifier import write_image_classifier
from aae_toolkit.export.manifest import IMAGE_FILE, WEIGHTS_FILE, ArtifactEntry, golden_file, read_manifest
from aae_toolkit.export.metadata import metadata_of
from aae_toolkit.files import sha256
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import read_description

# Where both variants would prove the same. Indirect and session-wide, so that the shared export is reused.
one_variant = pytest.mark.parametrize("variant", ["semi_supervised"], indirect=True, scope="session")


def copy_with_only(export_dir: Path, target: Path, *files: str) -> Path:
    """A copy of an export whose manifest names only these artifacts, all where none is named; `target` is new."""
    shutil.copytree(export_dir, target)
    manifest = read_manifest(target)
    kept = tuple(entry for entry in manifest.artifacts if not files or entry.file in files)
    manifest.model_copy(update={"artifacts": kept}).save(target)
    return target


def unverified(directory: Path) -> ExportDirectory:
    """An export opened without its checksums: its parsers meet whatever is there."""
    return ExportDirectory(directory, read_manifest(directory), read_description(directory))


def rerecord(directory: Path) -> None:
    """Make the manifest's checksums those of the files as they are now."""
    manifest = read_manifest(directory)
    manifest.model_copy(update={"sha256": {name: sha256(directory / name) for name in manifest.sha256}}).save(directory)


def replace_artifact(directory: Path, artifact: ArtifactName, format_: Format, module: nn.Module) -> str:
    """Export `module` over an artifact, as if `aae export` had written it so; return the file's name."""
    file = f"{artifact}{SUFFIXES[format_]}"
    description = read_description(directory)
    contract = contract_of(artifact, description)
    metadata = metadata_of(artifact, contract, description, sha256(directory / WEIGHTS_FILE))
    write_artifact(format_, module.eval(), contract, directory / file, metadata)
    rerecord(directory)
    return file


def add_image_classifier(
    directory: Path, preparation: Preparation = DEFAULT, inside: Preparation | None = None
) -> ExportDirectory:
    """Make an export one of a model whose images were prepared so, of `classifier.onnx` and `classifier.image.onnx`.

    What is in front of the latter is another preparation where `inside` gives one. Returns the export, opened.
    """
    description = read_description(directory).model_copy(update={"preparation": preparation})
    (directory / DESCRIPTION_FILE).write_text(description.model_dump_json())
    weights, full = sha256(directory / WEIGHTS_FILE), directory / "classifier.onnx"
    model = onnx.load(full)
    onnx.helper.set_model_props(
        model, metadata_of("classifier", contract_of("classifier", description), description, weights)
    )
    onnx.save(model, full)
    contract = contract_of(IMAGE, description)
    metadata = metadata_of(IMAGE, contract, description, weights)
    other = description.model_copy(update={"preparation": inside or preparation})
    facts = write_image_classifier(other, contract, full, directory / IMAGE_FILE, metadata)
    entry = ArtifactEntry(file=IMAGE_FILE, artifact=IMAGE, format=Format.ONNX, contract=contract, size_bytes=1, **facts)
    manifest = read_manifest(directory)
    kept = tuple(e for e in manifest.artifacts if e.file == full.name)
    sums = manifest.sha256 | {IMAGE_FILE: ""}
    manifest.model_copy(update={"artifacts": (*kept, entry), "sha256": sums}).save(directory)
    rerecord(directory)
    return ExportDirectory.open(directory)


def add_reduced(directory: Path, precision: Precision, module: nn.Module | None = None) -> str:
    """Add a classifier that says it is of reduced precision, with golden vectors where its gate wants its own.

    It is the full one again, or `module`, whose outputs the golden vectors then are not. Returns the file's name.
    """
    file = f"classifier.{precision}.onnx"
    manifest = read_manifest(directory)
    full = next(entry for entry in manifest.artifacts if entry.file == "classifier.onnx")
    if module is None:
        shutil.copy(directory / full.file, directory / file)
    else:
        write_artifact(Format.ONNX, module.eval(), full.contract, directory / file, {})
    with np.load(directory / golden_file()) as golden:
        outputs = {name: golden[name] for name in golden.files if name.startswith("classifier.output.")}
    np.savez(directory / golden_file(precision), **outputs)
    entry = full.model_copy(update={"file": file, "precision": precision})
    names = [*manifest.sha256, file, golden_file(precision)]
    update = {"artifacts": (*manifest.artifacts, entry), "sha256": {name: sha256(directory / name) for name in names}}
    manifest.model_copy(update=update).save(directory)
    return file
