"""Manifest of an export (`manifest.json`): its files, their checksums and verdicts. This module imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from aae_toolkit.config import Variant
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ArtifactName, Contract, Format, Precision
from aae_toolkit.files import require_index, verify_sha256, write_text
from aae_toolkit.files.documents import Name, read_document
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE

FILE_NAME = "manifest.json"
WEIGHTS_FILE = "weights.safetensors"
IMAGE_FILE = "classifier.image.onnx"

# Newest IR version and opset that each release of ONNX Runtime loads, where they change. Measured: an Identity model of
# each version was loaded in each release; the opsets agree with onnxruntime.ai/docs/reference/compatibility.html.
_ONNXRUNTIME = (("1.18", 10, 21), ("1.21", 10, 22), ("1.23", 11, 23), ("1.24", 13, 25))


def golden_file(precision: Precision = "fp32") -> str:
    """Name the file with the golden vectors, or with the golden outputs of a classifier of reduced precision."""
    return "golden.npz" if precision == "fp32" else f"golden.{precision}.npz"


def reduced_file(precision: Precision) -> str:
    """Name the file with the classifier of reduced precision."""
    return f"classifier.{precision}.onnx"


class ReductionGate(BaseModel):
    """Measurements by which a file of reduced precision was kept.

    Attributes:
        n: number of validation images.
        agreement: fraction of labels equal to those of the trained model; None where not measured.
        accuracy_delta: accuracy minus that of the trained model; None without labels.
        drop_bound: upper bound on the loss of accuracy, a fraction, at 95% confidence; None where not measured.
        speedup: speed relative to the float32 file, on one thread.
        device: device that ran both files.
        problems: failed criteria of a file that was kept by force.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int
    agreement: float | None
    accuracy_delta: float | None
    drop_bound: float | None
    speedup: float
    device: str
    problems: tuple[str, ...]

    def summary(self) -> str:
        """Summarize the measurements in one line."""
        agree = "no label" if self.agreement is None else f"{self.agreement:.2%} of labels"
        bound = "" if self.drop_bound is None else f", accuracy at most {100 * self.drop_bound:.2f} points lower"
        return f"{agree} as the trained model's (n = {self.n}){bound}; {self.speedup:.2f}x float32's speed"


class ArtifactEntry(BaseModel):
    """Entry of an exported file.

    ONNX files have `opset` and `ir_version`, read back from the file. Files of reduced precision have `gate`.
    AOTInductor packages have `compiled_for`: the only device and instruction sets that they run on.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: Name
    artifact: ArtifactName
    format: Format
    precision: Precision = "fp32"
    contract: Contract
    size_bytes: int = Field(ge=0, lt=2**63)
    opset: int | None = None
    ir_version: int | None = None
    gate: ReductionGate | None = None
    compiled_for: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def oldest_onnxruntime(self) -> str | None:
        """Oldest release of ONNX Runtime that loads the file, such as `1.18`; None for other files or newer opsets."""
        ir, opset = self.ir_version or 0, self.opset or 0
        fits = (release for release, newest_ir, newest in _ONNXRUNTIME if ir <= newest_ir and opset <= newest)
        return next(fits, None) if self.opset else None


class Manifest(BaseModel):
    """Content of `manifest.json`.

    Attributes:
        format: version of the format.
        toolkit_version: version of aae_toolkit that wrote the export.
        variant: variant of the model.
        versions: versions of the packages that wrote the files.
        artifacts: entries of the exported files.
        preparation: preparation of image files, in words; None for models of arrays.
        sha256: checksums of all files in the directory except the manifest and the model card.
        parity: last verdict of `aae parity`.
        accuracy: accuracy of the classifier on the split of that verdict, a fraction.
        balanced_accuracy: mean of the classes' accuracies there, a fraction.
        macro_f1: mean of the classes' F1 there, a fraction.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-export-1"] = "aae-export-1"
    toolkit_version: str
    variant: Variant
    versions: dict[str, str]
    artifacts: tuple[ArtifactEntry, ...]
    preparation: str | None = None
    sha256: dict[str, str]
    parity: dict[str, Any] | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None

    @property
    def oldest_onnxruntime(self) -> str | None:
        """Oldest release of ONNX Runtime that loads every ONNX file; None without any, or with newer opsets."""
        releases = [entry.oldest_onnxruntime for entry in self.artifacts if entry.opset]
        return max(filter(None, releases), default=None) if all(releases) else None

    def save(self, directory: Path) -> None:
        """Write `manifest.json`, whole or not at all."""
        write_text(directory / FILE_NAME, self.model_dump_json(indent=2) + "\n")

    def verify(self, directory: Path, *names: str) -> None:
        """Raise `AaeError` unless each file, or each of `names`, exists and matches its recorded checksum."""
        for name in names or self.sha256:
            verify_sha256(directory / name, self.sha256[name])


def read_manifest(directory: Path, *, trust: bool = False) -> Manifest:
    """Read `manifest.json` without verifying the other files.

    Args:
        directory: the export directory.
        trust: accept artifacts without a checksum.

    Raises:
        AaeError: the manifest is absent or damaged, names a file outside the directory, or lacks a checksum.
    """
    path = directory / FILE_NAME
    require_index(path, "export directory", "write one with: aae export --model <model>")
    try:
        manifest = read_document(path, Manifest)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} is not the manifest of an export: {error}; run aae export again") from error
    for name in [*manifest.sha256, *(entry.file for entry in manifest.artifacts)]:
        if Path(name).name != name:
            raise AaeError(f"{path} names {name!r}, which is outside its directory; it cannot be trusted")
    needed = {WEIGHTS_FILE, DESCRIPTION_FILE, golden_file()}
    needed |= {golden_file(entry.precision) for entry in manifest.artifacts}
    if unchecked := needed - set(manifest.sha256):
        raise AaeError(f"{path} has no checksum of {', '.join(sorted(unchecked))}; it cannot be trusted")
    if not trust and (unchecked := {entry.file for entry in manifest.artifacts} - set(manifest.sha256)):
        raise AaeError(
            f"{path} has no checksum of {', '.join(sorted(unchecked))}; it cannot be trusted: loading TorchScript or"
            " .pt2 can run what is in it; if you know who wrote it, give --trust"
        )
    return manifest
