"""Comparison of one artifact with the reference: differences, and whether rounding explains them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.protocol import Backend, Runnable
from aae_toolkit.backends.registry import ARBITER
from aae_toolkit.evaluation.paired import PairedAccuracy, compare_accuracy
from aae_toolkit.export.contract import Contract, Precision, Tensors
from aae_toolkit.parity.cases import Case, run_batches

TOLERANCE = 1e-4  # largest absolute difference of a float32 output


@dataclass(frozen=True)
class Gate:
    """Allowed differences under which an artifact counts as the same classifier.

    Attributes:
        tolerance: largest absolute difference of a float output; None where rounding is coarse by design.
        agreement: smallest fraction of equal labels on a split.
        drop: largest loss of accuracy at 95% confidence, a fraction; None for no limit.
        rounding_only: accept another label or category only where the measured differences explain it.
    """

    tolerance: float | None
    agreement: float = 0.0
    drop: float | None = None
    rounding_only: bool = False


GATES: dict[Precision, Gate] = {
    "fp32": Gate(TOLERANCE, rounding_only=True),
    "fp16": Gate(1e-2, agreement=0.999),
    "int8": Gate(None, agreement=0.995, drop=0.003),
}
REDUCED_GOLDEN_GATE = Gate(1e-2, rounding_only=True)  # reduced file compared with its own recorded outputs
N_ARBITRATED = 256  # images for the reference evaluator, which is slow
N_ARBITRATED_WITH_BACKBONE = 4  # images that it takes seconds for, each
_MAX_FLIPS_LISTED = 100


@dataclass(frozen=True)
class Flip:
    """Image for which the artifact gives another label or category than the reference.

    Where only the label differs, which rounding cannot explain, the margins are to a probability of zero.

    Attributes:
        images: name of the image set.
        index: position of the image in the set.
        reference: label that the reference gives.
        found: label that the artifact gives.
        margin: probability of the reference's own category minus that of the artifact's, by the reference.
        logit_margin: the same margin between logits.
    """

    images: str
    index: int
    reference: int
    found: int
    margin: float
    logit_margin: float


@dataclass
class Comparison:
    """Comparison of one artifact on one backend with the reference; truthy where it is the same classifier.

    Attributes:
        artifact: name of the file.
        backend: name of the backend, or of the way from image files.
        device: device that it ran on.
        precision: precision of the file.
        nodes: number of graph nodes by execution provider; empty where the runtime has no providers.
        passed: verdict; true where parity holds.
        max_abs_diff: largest absolute difference by output name, over all images and batch sizes; for integer
            outputs, the fraction that differs; for `pixels` that the network was given, in 0-255.
        max_rel_diff: the same relative to the expected value, or to 1e-4 where that is larger.
        tolerance_needed: smallest tolerance that would pass; None where none would.
        label_agreement: fraction of equal labels on the split; None where the artifact gives no label.
        accuracy: accuracy on the split, a fraction; None without labels.
        accuracy_delta: accuracy minus that of the reference; None without labels.
        paired: paired comparison on labelled images; without labels, on all images, with the reference as truth.
        flips: images whose label or category differs.
        reason: reason for the verdict.
        first_difference: node at which a refused ONNX file diverges, where requested.
    """

    artifact: str
    backend: str
    device: str
    precision: Precision = "fp32"
    nodes: dict[str, int] = field(default_factory=dict)
    passed: bool = False
    max_abs_diff: dict[str, float] = field(default_factory=dict)
    max_rel_diff: dict[str, float] = field(default_factory=dict)
    tolerance_needed: float | None = None
    label_agreement: float | None = None
    accuracy: float | None = None
    accuracy_delta: float | None = None
    paired: PairedAccuracy | None = None
    flips: list[Flip] = field(default_factory=list)
    reason: str = ""
    first_difference: str | None = None

    def __bool__(self) -> bool:
        """Return whether parity holds."""
        return self.passed


def compare(
    backend: Backend,
    runnable: Runnable,
    contract: Contract,
    cases: Iterable[Case],
    gate: Gate | None = None,
    n_arbitrated: int = N_ARBITRATED,
) -> Comparison:
    """Run a backend over every case at every batch size, and judge the outputs.

    Args:
        backend: the opened artifact.
        runnable: description of it.
        contract: its inputs and outputs.
        cases: images with expected outputs.
        gate: allowed differences; None for those of its precision.
        n_arbitrated: number of images of each case for the reference evaluator.

    Returns:
        The comparison; a run that fails is refused, with its error as the reason.
    """
    result = Comparison(backend.artifact, backend.name, backend.device, runnable.precision, backend.nodes)
    artifact = runnable.artifact
    for case in cases:
        if backend.name == ARBITER:
            case = case.sample(n_arbitrated)
        for batch_size, batches, expected in case.passes(artifact):
            where = f"at batch size {batch_size} of {case.name}"
            try:
                outputs = run_batches(backend, batches)
            except Exception as error:  # runtimes raise types of their own, and any error is a refusal
                result.reason = f"cannot run {where}: {' '.join(str(error).split())[:200]}"
                return result
            problem = _shape_problem(contract, expected, outputs)
            if problem:
                result.reason = f"{where}: {problem}"
                return result
            for name, values in expected.items():
                absolute, relative = _differences(values, outputs[name])
                _keep_largest(result.max_abs_diff, name, absolute)
                _keep_largest(result.max_rel_diff, name, relative)
            if "label" in expected:
                _list_flips(result, case, expected, outputs)
                if case.labels is not None:
                    _score(result, case, expected["label"], outputs["label"])
    _judge(result, gate or GATES[runnable.precision])
    return result


def _shape_problem(contract: Contract, expected: Tensors, outputs: Tensors) -> str | None:
    for spec in contract.outputs:
        if spec.name not in outputs:
            return f"no output {spec.name!r}; it has {', '.join(outputs)}"
        want, have = expected[spec.name], outputs[spec.name]
        if have.shape != want.shape or have.dtype != want.dtype:
            return f"{spec.name} is {have.dtype} {have.shape}, the contract says {want.dtype} {want.shape}"
    return None


def _differences(expected: NDArray[Any], output: NDArray[Any]) -> tuple[float, float]:
    """Return the largest absolute and relative difference; for integers, the differing fraction as both."""
    if np.issubdtype(expected.dtype, np.integer):
        differing = float((expected != output).mean())
        return differing, differing
    differences = np.abs(expected - output)
    return float(differences.max()), float((differences / np.maximum(np.abs(expected), TOLERANCE)).max())


def _keep_largest(differences: dict[str, float], name: str, new: float) -> None:
    """Update the largest difference of an output; nan counts as larger than any number."""
    old = differences.get(name, 0.0)
    differences[name] = old if np.isnan(old) else new if np.isnan(new) else max(old, new)


def _list_flips(result: Comparison, case: Case, expected: Tensors, outputs: Tensors) -> None:
    """Add the images that differ, except those already listed at another batch size."""
    wanted, labels = expected["label"], outputs["label"]
    flipped = np.flatnonzero((wanted != labels) | (expected["category"] != outputs["category"]))
    known = {flip.index for flip in result.flips if flip.images == case.name}
    result.flips += [
        Flip(case.name, int(i), int(wanted[i]), int(labels[i]), *_margins(case, i, int(outputs["category"][i])))
        for i in flipped.tolist()
        if i not in known
    ]


def _margins(case: Case, index: int, category: int) -> tuple[float, float]:
    """Return the margin of the reference's own category of an image over `category`, in probability and in logits."""
    y = case.expected["encoder"]["y"][index].astype(np.float64)
    tiny = float(np.finfo(np.float32).tiny)
    first, other = float(y.max()), tiny
    if 0 <= category < len(y) and category != case.expected["classifier"]["category"][index]:
        other = float(y[category])
    return first - other, math.log(max(first, tiny) / max(other, tiny))


def _score(result: Comparison, case: Case, wanted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Keep the worst agreement, with its accuracy, and the worst paired comparison over all batch sizes."""
    agreement = float((wanted == labels).mean())
    right, expected_right = case.right(labels), case.right(wanted)
    if len(right):
        paired = compare_accuracy(expected_right, right)
    else:
        paired = compare_accuracy(np.ones(len(labels), bool), wanted == labels)
    if result.paired is None or paired.drop_bound > result.paired.drop_bound:
        result.paired = paired
    if result.label_agreement is None or agreement < result.label_agreement:
        result.label_agreement, result.accuracy = agreement, share(right)
        result.accuracy_delta = float(right.mean() - expected_right.mean()) if len(right) else None


def explained_by_rounding(margin: Any, difference: float) -> Any:
    """Return whether a difference of at most `difference` can swap two categories that are `margin` apart.

    Rounding may lower one and raise the other by that much. `margin` is a number or an array; nan is never explained.
    """
    return margin <= 2 * difference


def share(right: NDArray[np.bool_]) -> float | None:
    """Return the fraction that is right; None for an empty array."""
    return float(right.mean()) if len(right) else None


def _judge(result: Comparison, gate: Gate) -> None:
    """Judge the comparison by the gate, with the measured and the allowed value as the reason."""
    floats = {k: v for k, v in result.max_abs_diff.items() if k not in ("label", "category")}
    worst = max(floats, key=lambda name: np.inf if np.isnan(floats[name]) else floats[name])
    largest = floats[worst]
    unexplained = [flip for flip in result.flips if not explained_by_rounding(flip.margin, largest)]
    if np.isfinite(largest) and not (unexplained and gate.rounding_only):
        result.tolerance_needed = largest
    agreement, paired = result.label_agreement, result.paired
    if not np.isfinite(largest) or (gate.tolerance is not None and not largest <= gate.tolerance):
        allowed = "it must be finite" if gate.tolerance is None else f"allowed {gate.tolerance:g}"
        result.reason = f"{worst} differs by {largest:.3g}; {allowed}"
    elif unexplained and gate.rounding_only:
        flip = unexplained[0]
        result.reason = (
            f"{len(unexplained)} labels or categories differ beyond rounding; first: image {flip.index} of"
            f" {flip.images}, label {flip.found} for {flip.reference} with a margin of {flip.margin:.3g}"
        )
    elif agreement is not None and agreement < gate.agreement:
        result.reason = f"{agreement:.3%} of labels agree; {gate.agreement:.1%} must"
    elif paired is not None and gate.drop is not None and paired.drop_bound > gate.drop:
        result.reason = (
            f"accuracy may be lower by {100 * paired.drop_bound:.3f} points (lost {paired.lost}, gained {paired.gained}"
            f" of {paired.n}, at 95% confidence); allowed {100 * gate.drop:g}"
        )
    else:
        result.passed = True
        allowed = "" if gate.tolerance is None else f"; allowed {gate.tolerance:g}"
        result.reason = f"largest difference {largest:.3g}{allowed}"
    result.flips = result.flips[:_MAX_FLIPS_LISTED]
