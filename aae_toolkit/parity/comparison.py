"""One artifact against the reference: what differs, and whether rounding explains it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.protocol import Backend, BackendName, Runnable
from aae_toolkit.backends.registry import ARBITER
from aae_toolkit.export.contract import Contract, Precision, Tensors
from aae_toolkit.parity.cases import Case, run_batches
from aae_toolkit.parity.paired import PairedAccuracy, compare_accuracy

TOLERANCE = 1e-4  # largest absolute difference of a float32 output


@dataclass(frozen=True)
class Gate:
    """What an artifact may differ by and still be the same classifier.

    Attributes:
        tolerance: the largest absolute difference of a float output; None where rounding is coarse by design.
        agreement: the least share of equal labels, of a split.
        drop: the accuracy that may be lost at 95% confidence, a fraction; None: not asked.
        rounding_only: a label or category may differ only where the differences found explain it.
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
REDUCED_GOLDEN_GATE = Gate(1e-2, rounding_only=True)  # of a reduced file, against what it gave where it was written
_N_ARBITRATED = 256  # images that the reference evaluator is given: it is slow
_MAX_FLIPS_LISTED = 100


@dataclass(frozen=True)
class Flip:
    """An image, of `images`, whose label or category differs.

    The margins are by which the reference prefers its category to the one found; where only the label differs, which
    no rounding explains, the whole of what it gives its own.
    """

    images: str
    index: int
    reference: int
    found: int
    margin: float  # in probability
    logit_margin: float  # between logits


@dataclass
class Comparison:
    """One artifact on one backend against the reference; truthy where it is the same classifier.

    Differences are the largest by output name, over all images and batch sizes; for integer outputs, the share that
    differs. Relative ones are to the expected value, or to 1e-4 where that is larger. `label_agreement` and
    the accuracies are fractions of the split, None where the artifact has no label or the data none. `paired` is of
    labelled images; where there are none, of all, as if the reference were right.
    """

    artifact: str
    backend: BackendName
    device: str
    precision: Precision = "fp32"
    nodes: dict[str, int] = field(default_factory=dict)  # by execution provider, where the runtime has several
    passed: bool = False
    max_abs_diff: dict[str, float] = field(default_factory=dict)
    max_rel_diff: dict[str, float] = field(default_factory=dict)
    tolerance_needed: float | None = None  # that it would have passed with; None where none would do
    label_agreement: float | None = None
    accuracy: float | None = None
    accuracy_delta: float | None = None
    paired: PairedAccuracy | None = None
    flips: list[Flip] = field(default_factory=list)
    reason: str = ""
    first_difference: str | None = None  # the node of a refused ONNX file where it parts, if that was asked for

    def __bool__(self) -> bool:
        """Whether parity holds."""
        return self.passed


def compare(
    backend: Backend, runnable: Runnable, contract: Contract, cases: Iterable[Case], gate: Gate | None = None
) -> Comparison:
    """Run what `backend` has opened over every case at every batch size, and judge, by its precision's gate if none."""
    result = Comparison(backend.artifact, backend.name, backend.device, runnable.precision, backend.nodes)
    artifact = runnable.artifact
    for case in cases:
        if backend.name == ARBITER:
            case = case.sample(_N_ARBITRATED)
        for batch_size, batches, expected in case.passes(artifact):
            where = f"at batch size {batch_size} of {case.name}"
            try:
                found = run_batches(backend, batches)
            except Exception as error:  # every runtime has its own, and any of them is a refusal
                result.reason = f"cannot run {where}: {' '.join(str(error).split())[:200]}"
                return result
            problem = _shape_problem(contract, expected, found)
            if problem:
                result.reason = f"{where}: {problem}"
                return result
            for name, values in expected.items():
                absolute, relative = _differences(values, found[name])
                _keep_largest(result.max_abs_diff, name, absolute)
                _keep_largest(result.max_rel_diff, name, relative)
            if artifact == "classifier":
                _list_flips(result, case, expected, found)
                if case.labels is not None:
                    _score(result, case, expected["label"], found["label"])
    _judge(result, gate or GATES[runnable.precision])
    return result


def _shape_problem(contract: Contract, expected: Tensors, found: Tensors) -> str | None:
    for spec in contract.outputs:
        if spec.name not in found:
            return f"no output {spec.name!r}; it has {', '.join(found)}"
        want, have = expected[spec.name], found[spec.name]
        if have.shape != want.shape or have.dtype != want.dtype:
            return f"{spec.name} is {have.dtype} {have.shape}, the contract says {want.dtype} {want.shape}"
    return None


def _differences(expected: NDArray[Any], found: NDArray[Any]) -> tuple[float, float]:
    """The largest absolute and relative difference; of integers, the share that differs, twice."""
    if np.issubdtype(expected.dtype, np.integer):
        differing = float((expected != found).mean())
        return differing, differing
    differences = np.abs(expected - found)
    return float(differences.max()), float((differences / np.maximum(np.abs(expected), TOLERANCE)).max())


def _keep_largest(differences: dict[str, float], name: str, new: float) -> None:
    """Nan is larger than any number, and stays."""
    old = differences.get(name, 0.0)
    differences[name] = old if np.isnan(old) else new if np.isnan(new) else max(old, new)


def _list_flips(result: Comparison, case: Case, expected: Tensors, found: Tensors) -> None:
    """Add what no other batch size flipped already."""
    wanted, labels = expected["label"], found["label"]
    flipped = np.flatnonzero((wanted != labels) | (expected["category"] != found["category"]))
    known = {flip.index for flip in result.flips if flip.images == case.name}
    result.flips += [
        Flip(case.name, int(i), int(wanted[i]), int(labels[i]), *_margins(case, i, int(found["category"][i])))
        for i in flipped.tolist()
        if i not in known
    ]


def _margins(case: Case, index: int, found: int) -> tuple[float, float]:
    """By how much the reference prefers its category of an image to `found`, in probability and in logits."""
    y = case.expected["encoder"]["y"][index].astype(np.float64)
    tiny = float(np.finfo(np.float32).tiny)
    first, other = float(y.max()), tiny
    if 0 <= found < len(y) and found != case.expected["classifier"]["category"][index]:
        other = float(y[found])
    return first - other, math.log(max(first, tiny) / max(other, tiny))


def _score(result: Comparison, case: Case, wanted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Keep agreement, accuracy and what may have been lost at the batch size that is worst in each."""
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
    """Whether outputs that differ by at most `difference` can swap two categories that are `margin` apart.

    Rounding may lower one and raise the other by as much. `margin` is a number or an array; nan is never explained.
    """
    return margin <= 2 * difference


def share(right: NDArray[np.bool_]) -> float | None:
    """Of those that are right, a fraction; None where there are none at all."""
    return float(right.mean()) if len(right) else None


def _judge(result: Comparison, gate: Gate) -> None:
    """Hold the comparison against the gate; the reason says what would have been needed."""
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
