"""Parity: is every exported artifact the same classifier as the trained model?

The reference is the eager model rebuilt from the export's weights. Every artifact runs on its backend over a whole
split and over synthetic probes (black, white, noise), at several batch sizes, and all its outputs are compared. ONNX
files also run on the standard's own evaluator, which shares no kernel with either runtime. A check that compared
nothing is a refusal, never a pass.

An export that came from elsewhere carries golden vectors, which need no data set: its weights and every file must
reproduce them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.backends.registry import ARBITER, is_for, open_backend, runnables
from aae_toolkit.data.directory import Split, SplitName
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.export.contract import ARTIFACTS, Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import SUFFIXES
from aae_toolkit.export.metadata import contradiction
from aae_toolkit.parity.cases import BATCH_SIZES, Case, golden_case, reference_cases
from aae_toolkit.parity.comparison import GATES, REDUCED_GOLDEN_GATE, TOLERANCE, Comparison, Gate, compare, share
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
    export: ExportDirectory,
    split: Split,
    split_name: SplitName,
    *,
    class_names: tuple[str, ...] = (),
    device: str = "cpu",
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    per_layer: bool = False,
    progress: Progress,
) -> ParityReport:
    """Compare every artifact of an export with the trained model, and record the verdict in its manifest and card.

    Args:
        export: the opened export.
        split: images to compare on; labels are used for accuracies where there are some.
        split_name: for the report.
        class_names: the data's, which must be the model's; empty where it has none.
        device: where artifacts run; the reference runs on the CPU.
        batch_sizes: each is run over the whole split.
        per_layer: find the node where a refused ONNX file parts from the model.
        progress: told of each comparison.

    Raises:
        AaeError: an unloadable file, images of another shape, or other classes.
        ParityError: nothing to compare.
    """
    export.description.require_image_shape(split.images.shape[1:])
    export.description.require_class_names(class_names)
    if len(split) == 0 or not export.artifacts:
        raise ParityError(
            f"nothing compared: {len(split)} images, {len(export.artifacts)} artifacts; parity is not proven"
        )
    cases = reference_cases(export, split, f"{split_name} images", batch_sizes)
    pairs = [r for r in _to_compare(export, device, progress) if r.backend != "eager"]
    results = _compare_all(export, pairs, cases, device, progress)
    if per_layer:
        _find_layers(export, pairs, results, cases[0])
    accuracy = share(cases[0].right(cases[0].expected["classifier"]["label"]))
    report = ParityReport(len(split), split_name, batch_sizes, TOLERANCE, accuracy, results)
    try:
        export.recorded(parity=_summary(report), accuracy=accuracy)
    except OSError as error:
        verdict = "proven" if report else "refused"
        reason = f"cannot be recorded in {export.path}: {error.strerror or error}"
        raise AaeError(f"parity is {verdict}, but {reason}") from error
    return report


def replay_golden(export: ExportDirectory, *, device: str = "cpu", progress: Progress) -> ParityReport:
    """Replay the golden vectors of an export on its weights and on every artifact; nothing is recorded.

    Args:
        export: the opened export, written anywhere.
        device: where artifacts run.
        progress: told of each comparison.

    Raises:
        AaeError: an unloadable file.
        ParityError: nothing to compare.
    """
    if not export.artifacts:
        raise ParityError("nothing compared: 0 artifacts; the export is not verified")
    case = golden_case(export)
    runs, results = _to_compare(export, device, progress), []
    for precision in GATES:
        pairs = [runnable for runnable in runs if runnable.precision == precision]
        if precision == "fp32":
            results += _compare_all(export, pairs, [case], device, progress)
        elif pairs:
            reduced = golden_case(export, precision)
            results += _compare_all(export, pairs, [reduced], device, progress, REDUCED_GOLDEN_GATE)
    return ParityReport(len(case), "golden", case.batch_sizes, TOLERANCE, None, results)


def _to_compare(export: ExportDirectory, device: str, progress: Progress) -> list[Runnable]:
    """The weights, every exported file, ONNX on the arbiter too, and the classifier as `torch.compile` deploys it.

    The arbiter leaves out reduced precision, which is judged by shares of a whole split.
    """
    for entry in export.artifacts:
        if not is_for(entry, device):
            progress.say(f"{entry.file} is not for {device}: left out")
    runs = []
    for artifact in ARTIFACTS:
        on_backends = runnables(export, artifact, device)
        runs += [r for r in on_backends if artifact == "classifier" or r.backend != "compiled"]
        runs += [
            Runnable(artifact, ARBITER, e.file)
            for e in export.artifacts
            if (e.artifact, e.format, e.precision) == (artifact, Format.ONNX, "fp32")
        ]
    return runs


def _compare_all(
    export: ExportDirectory,
    pairs: list[Runnable],
    cases: Iterable[Case],
    device: str,
    progress: Progress,
    gate: Gate | None = None,
) -> list[Comparison]:
    results = []
    for runnable in progress.track(pairs, "parity", len(pairs)):
        contract = export.contract(runnable.artifact)
        with open_backend(export, runnable, device=device) as backend:
            result = compare(backend, runnable, contract, cases, gate)
            metadata = backend.metadata
        if result and metadata is not None:
            problem = contradiction(metadata, runnable.artifact, contract, export.description)
            if problem:
                result.passed, result.reason = False, problem
        results.append(result)
    return results


def _find_layers(export: ExportDirectory, pairs: list[Runnable], results: list[Comparison], case: Case) -> None:
    """Find the node at which each refused ONNX file parts; reduced precision parts at every node by design."""
    for runnable, result in zip(pairs, results, strict=True):
        if not result and runnable.file.endswith(SUFFIXES[Format.ONNX]) and runnable.precision == "fp32":
            feeds = case.inputs[runnable.artifact]
            try:
                result.first_difference = first_difference(export, runnable, feeds)
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
