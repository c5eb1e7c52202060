"""Parity check: proof that every exported artifact is the same classifier as the trained model.

The reference is the eager model, rebuilt from the weights of the export. Every artifact runs on its backend over a
whole split and over synthetic probes (black, white, noise) at several batch sizes, and all its outputs are compared.
ONNX files also run on ONNX's reference evaluator, which shares no kernel with either runtime. A check that compared
nothing fails.

An export from elsewhere is verified without a data set: its weights and every file must reproduce its golden vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.backends.registry import ARBITER, is_for, open_backend, runnables
from aae_toolkit.data.split import UNLABELED, Split, SplitName
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.evaluation import balanced_accuracy, contingency_table, macro_f1
from aae_toolkit.export.contract import ARTIFACTS, IMAGE, Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import SUFFIXES
from aae_toolkit.export.metadata import contradiction
from aae_toolkit.models.classes import match_classes, unknown_line
from aae_toolkit.parity.cases import BATCH_SIZES, Case, golden_case, of_whole_images, reference_cases
from aae_toolkit.parity.comparison import (
    GATES,
    N_ARBITRATED,
    N_ARBITRATED_WITH_BACKBONE,
    REDUCED_GOLDEN_GATE,
    TOLERANCE,
    Comparison,
    Gate,
    compare,
    share,
)
from aae_toolkit.parity.files import compare_files
from aae_toolkit.parity.layers import first_difference
from aae_toolkit.progress import Progress


@dataclass
class ParityReport:
    """Results of all comparisons; truthy where there are some and all passed.

    Attributes:
        n: number of images.
        split: their split.
        batch_sizes: batch sizes that ran over all images.
        tolerance: largest allowed absolute difference of a float32 output.
        accuracy: accuracy of the trained model on the split, a fraction; None without labels.
        results: one comparison for each artifact and backend.
    """

    n: int
    split: SplitName | Literal["golden"]
    batch_sizes: tuple[int, ...]
    tolerance: float
    accuracy: float | None
    results: list[Comparison]

    @property
    def passed(self) -> bool:
        """Verdict: true if every artifact is the same classifier as the trained model."""
        return self.n > 0 and bool(self.results) and all(self.results)

    def __bool__(self) -> bool:
        """Return `passed`."""
        return self.passed

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae parity --json` prints; a non-finite difference is null."""
        content = {"passed": self.passed, **asdict(self)}
        for result in content["results"]:  # JSON cannot represent nan
            for kind in ("max_abs_diff", "max_rel_diff"):
                result[kind] = {name: v if np.isfinite(v) else None for name, v in result[kind].items()}
        return content

    def require(self) -> None:
        """Raise `ParityError` if a comparison failed."""
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
    compiled: bool = True,
    per_layer: bool = False,
    progress: Progress,
) -> ParityReport:
    """Compare every artifact of an export with the trained model, and record the verdict in its manifest and card.

    Args:
        export: the opened export.
        split: images to compare on, and their labels for accuracies.
        split_name: name of the split, for the report.
        class_names: class names of the data, matched with those of the model; empty where the data has none.
        device: device that artifacts run on; the reference runs on the CPU.
        batch_sizes: batch sizes, each run over the whole split.
        compiled: also compare the weights behind torch.compile, which no file holds; compiling takes a while.
        per_layer: find the node at which a refused ONNX file diverges from the model.
        progress: receives a step for each comparison.

    Raises:
        AaeError: a file cannot be loaded, or the images have another shape than the model's, or none of its classes.
        ParityError: there is nothing to compare.
    """
    export.description.require_image_shape(split.images.shape[1:])
    match = match_classes(export.description.class_names, class_names)
    if unknown := match.unknown(split):
        progress.say(unknown_line(unknown))
    split = match.relabel(split)
    if len(split) == 0 or not export.artifacts:
        raise ParityError(
            f"nothing compared: {len(split)} images, {len(export.artifacts)} artifacts; parity is not proven"
        )
    cases = reference_cases(export, split, f"{split_name} images", batch_sizes)
    skipped = ("eager",) if compiled else ("eager", "compiled")
    pairs = [r for r in _to_compare(export, device, progress) if r.backend not in skipped]
    results = _compare_all(export, pairs, cases, device, progress)
    if per_layer:
        _find_layers(export, pairs, results, cases[0])
    results += compare_files(export, split.images, progress)
    accuracy = share(cases[0].right(cases[0].expected["classifier"]["label"]))
    report = ParityReport(len(split), split_name, batch_sizes, TOLERANCE, accuracy, results)
    try:
        export.recorded(parity=_summary(report), accuracy=accuracy, **_by_class(cases[0], export))
    except OSError as error:
        verdict = "proven" if report else "refused"
        reason = f"cannot be recorded in {export.path}: {error.strerror or error}"
        raise AaeError(f"parity is {verdict}, but {reason}") from error
    return report


def replay_golden(export: ExportDirectory, *, device: str = "cpu", progress: Progress) -> ParityReport:
    """Replay the golden vectors of an export on its weights and on every artifact, without recording the verdict.

    Args:
        export: the opened export, written on any machine.
        device: device that artifacts run on.
        progress: receives a step for each comparison.

    Raises:
        AaeError: a file cannot be loaded.
        ParityError: there is nothing to compare.
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
    """List the runs to compare: the weights, also compiled, and every file; float32 ONNX files on the arbiter too.

    Only the classifier is compiled. The arbiter is too slow for reduced precision, which is judged on a whole split.
    """
    for entry in export.artifacts:
        if not is_for(entry, device):
            progress.say(f"{entry.file} is not for {device}: left out")
    runs = []
    for artifact in (*ARTIFACTS, IMAGE):
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
    n_arbitrated = N_ARBITRATED_WITH_BACKBONE if export.description.architecture.backbone else N_ARBITRATED
    for runnable in progress.track(pairs, "parity", len(pairs)):
        contract, given = export.contract(runnable.artifact), cases
        if runnable.artifact == IMAGE:
            preparation = export.description.require_preparation()
            given = [whole for case in cases for whole in of_whole_images(case, preparation)]
        with open_backend(export, runnable, device=device) as backend:
            result = compare(backend, runnable, contract, given, gate, n_arbitrated)
            metadata = backend.metadata
        if result and metadata is not None:
            problem = contradiction(metadata, runnable.artifact, contract, export.description)
            if problem:
                result.passed, result.reason = False, problem
        results.append(result)
    return results


def _find_layers(export: ExportDirectory, pairs: list[Runnable], results: list[Comparison], case: Case) -> None:
    """Find the node at which each refused float32 ONNX file diverges; at reduced precision every node does.

    The classifier of decoded images has no PyTorch graph to compare it with.
    """
    for runnable, result in zip(pairs, results, strict=True):
        is_followed = runnable.precision == "fp32" and runnable.artifact in ARTIFACTS
        if not result and runnable.file.endswith(SUFFIXES[Format.ONNX]) and is_followed:
            feeds = case.inputs[runnable.artifact]
            try:
                result.first_difference = first_difference(export, runnable, feeds)
            except Exception as error:  # a file that cannot run is refused too
                result.first_difference = f"cannot be followed: {' '.join(str(error).split())[:200]}"


def _by_class(case: Case, export: ExportDirectory) -> dict[str, float | None]:
    """Score the trained model with all classes counting alike; None without labels."""
    assert case.labels is not None
    known, n_classes = case.labels != UNLABELED, len(export.description.class_names)
    if not known.any():
        return {"balanced_accuracy": None, "macro_f1": None}
    predicted = case.expected["classifier"]["label"]
    confusion = contingency_table(case.labels[known], predicted[known], n_classes, n_classes)
    return {"balanced_accuracy": balanced_accuracy(confusion), "macro_f1": macro_f1(confusion)}


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
                "n": r.paired.n if r.paired else None,
                "reason": r.reason,
            }
            for r in report.results
        ],
    }
