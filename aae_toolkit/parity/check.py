"""Parity: is every exported artifact the same classifier as the trained model?

The reference is the eager model rebuilt from the export directory's weights. Every artifact is run on its backend over
a whole split and over images that no data set has (black, white, noise), at several batch sizes, and all its outputs
are compared. ONNX files are also evaluated by the standard's own reference, which shares no kernel with either runtime.
Where nothing was compared, nothing is proven: that is a refusal, never a pass.

An export that came from elsewhere carries golden vectors, which need no data set: its weights and every file must give
them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aae_toolkit.backends.base import ARBITER, Backend, Runnable, is_for, open_backend, runnables
from aae_toolkit.data.directory import Split, SplitName
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ARTIFACTS, Contract, Format, contract_of
from aae_toolkit.export.formats import SUFFIXES
from aae_toolkit.export.manifest import Manifest, read_verified
from aae_toolkit.export.writer import CARD_FILE, load_exported
from aae_toolkit.files import write_text
from aae_toolkit.models.description import ModelDescription, read_description
from aae_toolkit.parity.cases import BATCH_SIZES, Case, reference_cases
from aae_toolkit.parity.comparison import (
    GATES,
    REDUCED_GOLDEN_GATE,
    TOLERANCE,
    Comparison,
    Gate,
    compare,
    share,
)
from aae_toolkit.parity.golden import golden_case, reduced_golden_case
from aae_toolkit.parity.layers import first_difference
from aae_toolkit.progress import Progress


@dataclass
class ParityReport:
    """All comparisons over `n` images of one kind; truthy where there are some and every one holds."""

    n: int
    split: SplitName | Literal["golden"]
    batch_sizes: tuple[int, ...]
    tolerance: float
    accuracy: float | None
    results: list[Comparison]

    @property
    def passed(self) -> bool:
        """Whether every artifact is the same classifier as the trained model."""
        return self.n > 0 and bool(self.results) and all(self.results)

    def __bool__(self) -> bool:
        """As `passed`."""
        return self.passed

    def to_json(self) -> dict[str, Any]:
        """The object that `aae parity --json` prints; a difference that is not finite is null."""
        content = {"passed": self.passed, **asdict(self)}
        for result in content["results"]:  # JSON has no word for nan
            for kind in ("max_abs_diff", "max_rel_diff"):
                result[kind] = {name: v if np.isfinite(v) else None for name, v in result[kind].items()}
        return content

    def require(self) -> None:
        """Raise `ParityError` unless every comparison holds."""
        refused = [result for result in self.results if not result]
        if refused:
            first = f"{refused[0].artifact} on {refused[0].backend}: {refused[0].reason}"
            raise ParityError(f"parity refused for {len(refused)} of {len(self.results)}; first {first}")


def check_parity(
    export_dir: Path,
    split: Split,
    split_name: SplitName,
    *,
    class_names: tuple[str, ...] = (),
    device: str = "cpu",
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    per_layer: bool = False,
    trust: bool = False,
    progress: Progress,
) -> ParityReport:
    """Compare every artifact of an export with the trained model, and record the verdict in its manifest and card.

    Args:
        export_dir: written by `aae export`; its checksums are verified first.
        split: images to compare on; labels are used for accuracies where there are some.
        split_name: for the report.
        class_names: the data's, which must be the model's; empty where it has none.
        device: where artifacts run; the reference runs on the CPU.
        batch_sizes: each is run over the whole split.
        per_layer: find the node where a refused ONNX file parts from the model.
        trust: load artifacts of which the manifest has no checksum too.
        progress: told of each comparison.

    Raises:
        AaeError: a missing, damaged or unloadable file, images of another shape, or other classes.
        ParityError: nothing to compare.
    """
    manifest, description = read_verified(export_dir, trust=trust), read_description(export_dir)
    description.require_image_shape(split.images.shape[1:])
    description.require_class_names(class_names)
    if len(split) == 0 or not manifest.artifacts:
        raise ParityError(
            f"nothing compared: {len(split)} images, {len(manifest.artifacts)} artifacts; parity is not proven"
        )
    cases = reference_cases(export_dir, split, f"{split_name} images", batch_sizes)
    pairs = [r for r in _to_compare(manifest, device, progress) if r.backend != "eager"]
    results = _compare_all(export_dir, pairs, description, cases, device, progress)
    if per_layer:
        _find_layers(export_dir, pairs, results, description, cases[0])
    accuracy = share(cases[0].right(cases[0].expected["classifier"]["label"]))
    report = ParityReport(len(split), split_name, batch_sizes, TOLERANCE, accuracy, results)
    recorded = manifest.model_copy(update={"parity": _summary(report), "accuracy": accuracy})
    try:
        recorded.save(export_dir)
        write_text(export_dir / CARD_FILE, model_card(description, recorded))
    except OSError as error:
        verdict = "proven" if report else "refused"
        reason = f"cannot be recorded in {export_dir}: {error.strerror or error}"
        raise AaeError(f"parity is {verdict}, but {reason}") from error
    return report


def replay_golden(export_dir: Path, *, device: str = "cpu", trust: bool = False, progress: Progress) -> ParityReport:
    """Have the weights and every artifact of an export give its golden vectors again; nothing is recorded.

    Args:
        export_dir: written by `aae export`, anywhere; its checksums are verified first.
        device: where artifacts run.
        trust: as above.
        progress: told of each comparison.

    Raises:
        AaeError: a missing, damaged or unloadable file.
        ParityError: nothing to compare.
    """
    manifest, description = read_verified(export_dir, trust=trust), read_description(export_dir)
    if not manifest.artifacts:
        raise ParityError("nothing compared: 0 artifacts; the export is not verified")
    case = golden_case(export_dir, description)
    runs, results = _to_compare(manifest, device, progress), []
    for precision in GATES:
        pairs = [runnable for runnable in runs if runnable.precision == precision]
        if precision == "fp32":
            results += _compare_all(export_dir, pairs, description, [case], device, progress)
        elif pairs:
            reduced = reduced_golden_case(export_dir, description, precision, case)
            results += _compare_all(export_dir, pairs, description, [reduced], device, progress, REDUCED_GOLDEN_GATE)
    return ParityReport(len(case), "golden", case.batch_sizes, TOLERANCE, None, results)


def _to_compare(manifest: Manifest, device: str, progress: Progress) -> list[Runnable]:
    """The weights, every exported file, ONNX on the arbiter too, and the classifier as `torch.compile` deploys it.

    Not the arbiter for reduced precision, which is judged by shares of a whole split.
    """
    for entry in manifest.artifacts:
        if not is_for(entry, device):
            progress.say(f"{entry.file} is not for {device}: left out")
    found = []
    for artifact in ARTIFACTS:
        on_backends = runnables(manifest, artifact, device)
        found += [r for r in on_backends if artifact == "classifier" or r.backend != "compiled"]
        found += [
            Runnable(artifact, ARBITER, e.file)
            for e in manifest.artifacts
            if (e.artifact, e.format, e.precision) == (artifact, Format.ONNX, "fp32")
        ]
    return found


def _compare_all(
    export_dir: Path,
    pairs: list[Runnable],
    description: ModelDescription,
    cases: Iterable[Case],
    device: str,
    progress: Progress,
    gate: Gate | None = None,
) -> list[Comparison]:
    results = []
    for runnable in progress.track(pairs, "parity", len(pairs)):
        backend = open_backend(export_dir, runnable, device=device)
        contract = contract_of(runnable.artifact, description)
        result = compare(backend, runnable, contract, cases, gate)
        problem = _metadata_problem(backend, runnable, contract, description)
        if result and problem:
            result.passed, result.reason = False, problem
        results.append(result)
        backend.close()
    return results


def _metadata_problem(
    backend: Backend, runnable: Runnable, contract: Contract, description: ModelDescription
) -> str | None:
    """What an ONNX file says of itself that is not so: by its class names labels are read."""
    if backend.metadata is None:
        return None
    wanted = {
        "aae.artifact": runnable.artifact,
        "aae.class_names": json.dumps(description.class_names),
        "aae.contract": contract.model_dump_json(),
    }
    for key, value in wanted.items():
        found = backend.metadata.get(key)
        if found != value:
            return f"its metadata say {key} is {str(found)[:80]}, the model's is {value[:80]}"
    return None


def _find_layers(
    export_dir: Path, pairs: list[Runnable], results: list[Comparison], description: ModelDescription, case: Case
) -> None:
    """Say of every refused ONNX file at which node it parts; reduced precision parts at each by design."""
    modules = load_exported(export_dir).deployed()
    for runnable, result in zip(pairs, results, strict=True):
        if not result and runnable.file.endswith(SUFFIXES[Format.ONNX]) and runnable.precision == "fp32":
            contract = contract_of(runnable.artifact, description)
            feeds = case.inputs[runnable.artifact]
            path = export_dir / runnable.file
            try:
                result.first_difference = first_difference(path, modules[runnable.artifact], contract, feeds)
            except Exception as error:  # it may be refused because it cannot run
                result.first_difference = f"cannot be followed: {' '.join(str(error).split())[:200]}"


def _summary(report: ParityReport) -> dict[str, Any]:
    return {
        "passed": report.passed,
        "n": report.n,
        "split": report.split,
        "tolerance": report.tolerance,
        "results": [
            {
                "artifact": r.artifact,
                "backend": r.backend,
                "precision": r.precision,
                "passed": r.passed,
                "accuracy": r.accuracy,
                "reason": r.reason,
            }
            for r in report.results
        ],
    }
