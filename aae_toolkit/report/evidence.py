"""Evidence from an export and a saved benchmark, after a check that both belong to the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from aae_toolkit.bench.bench_page import Speed, speed_of
from aae_toolkit.bench.results import PERCENTILES, BenchReport, read_report
from aae_toolkit.data.split import SplitName
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Precision
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import FILE_NAME, Manifest
from aae_toolkit.files.documents import Name
from aae_toolkit.html.rendering import command
from aae_toolkit.models.directory import TrainedModel


class ComparedFile(BaseModel):
    """Comparison of one file on one backend, as `aae parity` recorded it; `accuracy` is a fraction."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    artifact: str
    backend: Name  # or the way from image files
    precision: Precision = "fp32"
    passed: bool
    accuracy: float | None = None
    reason: str


class Verdict(BaseModel):
    """Verdict on `n` images that `aae parity` recorded in the manifest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    passed: bool
    n: int
    split: SplitName
    results: tuple[ComparedFile, ...]


@dataclass(frozen=True)
class Export:
    """Export of the model; `verdict` is None where parity was not checked."""

    opened: ExportDirectory
    verdict: Verdict | None

    @property
    def manifest(self) -> Manifest:
        """Manifest of the export."""
        return self.opened.manifest

    @property
    def uncompared(self) -> list[str]:
        """Exported files without a comparison in the verdict."""
        compared = {result.artifact for result in self.verdict.results} if self.verdict else set()
        return [entry.file for entry in self.manifest.artifacts if entry.file not in compared]


@dataclass(frozen=True)
class Benchmark:
    """Saved benchmark of the exported classifier."""

    report: BenchReport
    speed: Speed


def open_export(model_dir: Path, export_dir: Path | None) -> ExportDirectory | None:
    """Open an export, by default the one in the model directory; None if there is none.

    Raises:
        AaeError: the export is absent or damaged.
    """
    if export_dir is None:
        export_dir = model_dir / "export"
        if not (export_dir / FILE_NAME).is_file():
            return None
    return ExportDirectory.open(export_dir)


def export_of(model: TrainedModel, model_dir: Path, export: ExportDirectory) -> Export:
    """Check that an export is of `model`, and read its verdict.

    Args:
        model: the trained model.
        model_dir: its directory, for errors.
        export: the opened export.

    Raises:
        AaeError: the export is of another model, or its verdict is damaged.
    """
    if difference := _difference(model, export.reference):
        again = command("aae", "export", "--model", model_dir, "--output", export.path)
        raise AaeError(f"export directory {export.path} is of another model: {difference}; name its own, or: {again}")
    parity = export.manifest.parity
    try:
        verdict = None if parity is None else Verdict.model_validate(parity)
    except ValidationError as error:
        raise AaeError(f"{export.path / FILE_NAME} holds a damaged verdict; run aae parity again") from error
    return Export(export, verdict)


def _difference(model: TrainedModel, exported: TrainedModel) -> str | None:
    """Describe the first difference between an exported model and the trained one; None if they are equal."""
    own, other = model.description, exported.description
    if own.class_names != other.class_names:
        names = (", ".join(d.class_names[:12]) for d in (other, own))
        return "its classes are {}, the model's are {}".format(*names)
    for name in ("variant", "architecture", "category_to_class"):
        if getattr(own, name) != getattr(other, name):
            return f"its {name.replace('_', ' ')} is not the model's"
    for network in ("encoder", "decoder"):
        theirs = getattr(exported, network).state_dict()
        if not all(torch.equal(tensor, theirs[k]) for k, tensor in getattr(model, network).state_dict().items()):
            return f"its {network}'s weights are not the model's"
    return None


def read_benchmark(path: Path, export: Export) -> Benchmark:
    """Read a report that `aae bench --output` wrote, and check that it measured `export`.

    Raises:
        AaeError: the file cannot be read, is of another export, or lacks latencies.
    """
    report = read_report("--bench", path)
    measured, own = report.environment.get("weights_sha256"), export.opened.weights_sha256
    if measured != own:
        other = f"weights {measured:.12}…" if isinstance(measured, str) else "weights that it does not name"
        again = command("aae", "bench", "--export", export.opened.path, "--output", path)
        raise AaeError(f"--bench {path} measured {other}, {export.opened.path} holds {own:.12}…; measure it: {again}")
    if not any(m.rate is None for m in report.results):
        raise AaeError(f"--bench {path} holds no measurement; measure again")
    for m in report.results:
        numbers = [m.images_per_second, *(m.latency_ms.get(f"p{p}", 0.0) for p in PERCENTILES)]
        if not all(0 < number < math.inf for number in numbers) or (m.rate is not None and m.p99_bound_ms is None):
            raise AaeError(f"--bench {path} lacks latencies of {m.title} on {m.artifact}; measure again")
    return Benchmark(report, speed_of(report, export.manifest))
