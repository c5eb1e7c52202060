"""`manifest.json`: what an export directory holds, its checksums, and what was proven of it. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.config import Variant
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ArtifactName, Contract, Format, Precision
from aae_toolkit.files import require_index, verify_sha256, write_text
from aae_toolkit.files.documents import Name, read_document
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE

FILE_NAME = "manifest.json"
WEIGHTS_FILE = "weights.safetensors"


def golden_file(precision: Precision = "fp32") -> str:
    """The name of the golden vectors: all of them, or the outputs of a classifier of reduced precision."""
    return "golden.npz" if precision == "fp32" else f"golden.{precision}.npz"


def reduced_file(precision: Precision) -> str:
    """The name of the classifier of reduced precision."""
    return f"classifier.{precision}.onnx"


class ReductionGate(BaseModel):
    """What a file of reduced precision was kept for; shares and accuracies are fractions of n validation images."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int
    agreement: float | None  # of labels, with the trained model
    accuracy_delta: float | None
    drop_bound: float | None  # accuracy is lower by at most this, at 95% confidence
    speedup: float  # over the float32 file, one thread
    device: str
    problems: tuple[str, ...]  # for which it would have been refused, but was to be kept

    def summary(self) -> str:
        """For people."""
        agree = "no label" if self.agreement is None else f"{self.agreement:.2%} of labels"
        bound = "" if self.drop_bound is None else f", accuracy at most {100 * self.drop_bound:.2f} points lower"
        return f"{agree} as the trained model's (n = {self.n}){bound}; {self.speedup:.2f}x float32's speed"


class ArtifactEntry(BaseModel):
    """One exported file.

    `opset` and `ir_version`, as read back, are of ONNX only, `gate` of reduced precision, and `compiled_for` of
    AOTInductor: the only device and instructions that it runs on.
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


class Manifest(BaseModel):
    """The content of `manifest.json`; `sha256` covers every file beside it but the model card."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-export-1"] = "aae-export-1"
    toolkit_version: str
    variant: Variant
    versions: dict[str, str]  # of the packages that wrote the files
    artifacts: tuple[ArtifactEntry, ...]
    sha256: dict[str, str]
    parity: dict[str, Any] | None = None  # the last verdict of `aae parity`
    accuracy: float | None = None  # of the classifier on the split that parity compared, fraction

    def save(self, directory: Path) -> None:
        """Write `manifest.json`, whole or not at all."""
        write_text(directory / FILE_NAME, self.model_dump_json(indent=2) + "\n")

    def verify(self, directory: Path, *names: str) -> None:
        """Raise `AaeError` unless each file, or those of `names`, is there with its recorded checksum."""
        for name in names or self.sha256:
            verify_sha256(directory / name, self.sha256[name])


def read_manifest(directory: Path, *, trust: bool = False) -> Manifest:
    """Read `manifest.json`, without checking the files beside it.

    Args:
        directory: the export.
        trust: accept artifacts of which there is no checksum.

    Raises:
        AaeError: absent, damaged, naming files outside the directory, or without the checksum of one that it names.
    """
    path = directory / FILE_NAME
    require_index(path, "export directory", "write one with: aae export --model-dir-path <model>")
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
