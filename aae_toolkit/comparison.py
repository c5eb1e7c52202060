"""One artifact against the reference: what differs, and whether rounding explains it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import ARBITER, Backend, BackendName, Tensors
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.export.contract import ArtifactName, Contract
from aae_toolkit.statistics import PairedAccuracy, compare_accuracy

TOLERANCE = 1e-4  # largest absolute difference of a float32 output
_N_ARBITRATED = 256  # images that the reference evaluator is given: it is slow
_MAX_FLIPS_LISTED = 100


@dataclass(frozen=True)
class Flip:
    """An image, of `images`, whose label differs; `margin` is between the reference's two likeliest categories."""

    images: str
    index: int
    reference: int
    found: int
    margin: float  # in probability


@dataclass
class Comparison:
    """One artifact on one backend against the reference; truthy where it is the same classifier.

    Differences are the largest by output name, over all images and batch sizes; for integer outputs, the share that
    differs. Relative ones are to the expected value, or to the tolerance where that is larger. `label_agreement` and
    the accuracies are fractions of the split, None where the artifact has no label or the data none.
    """

    artifact: str
    backend: BackendName
    device: str
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

    def __bool__(self) -> bool:
        """Whether parity holds."""
        return self.passed


@dataclass(frozen=True)
class Case:
    """Images, what every artifact is fed of them, and what the reference says.

    Of a whole set, each batch size passes over all of it; else a batch of each size is cut from its beginning. Where
    there are `labels` [N], answers are scored by them.
    """

    name: str
    inputs: dict[ArtifactName, Tensors]
    expected: dict[ArtifactName, Tensors]
    batch_sizes: tuple[int, ...]
    whole: bool
    labels: NDArray[np.int64] | None = None

    @functools.cached_property
    def margins(self) -> NDArray[np.float32]:
        """Between the reference's two likeliest categories of each image, in probability, [N]."""
        top2 = np.sort(self.expected["encoder"]["y"], axis=1)[:, -2:]
        margins: NDArray[np.float32] = top2[:, 1] - top2[:, 0]
        return margins

    def passes(self, artifact: ArtifactName) -> Iterator[tuple[int, list[Tensors], Tensors]]:
        """Batch size, batches, and the outputs that these must give together."""
        feeds, expected = self.inputs[artifact], self.expected[artifact]
        for size in self.batch_sizes:
            if self.whole:
                yield size, batches_of(feeds, size), expected
            else:
                yield size, [_first(feeds, size)], _first(expected, size)

    def sample(self, n: int) -> Case:
        """The first `n` images in one batch."""
        return dataclasses.replace(self, whole=False, batch_sizes=(min(n, len(self.margins)),))

    def right(self, predicted: NDArray[Any]) -> NDArray[np.bool_]:
        """Of which labelled images, among the first, these are the labels: bool [n]."""
        assert self.labels is not None
        truth = self.labels[: len(predicted)]
        found: NDArray[np.bool_] = (predicted == truth)[truth != UNLABELED]
        return found


def batches_of(feeds: Tensors, batch_size: int) -> list[Tensors]:
    """Arrays [N, ...] by name, cut into batches; the last may be smaller."""
    n = len(next(iter(feeds.values())))
    return [{name: a[i : i + batch_size] for name, a in feeds.items()} for i in range(0, n, batch_size)]


def _first(tensors: Tensors, n: int) -> Tensors:
    return {name: a[:n] for name, a in tensors.items()}


def run_batches(backend: Backend, batches: list[Tensors]) -> Tensors:
    """Run one batch after another; outputs joined, by name."""
    outputs = [backend.run(feeds) for feeds in batches]
    return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}


def compare(backend: Backend, contract: Contract, cases: Iterable[Case], artifact: ArtifactName) -> Comparison:
    """Run one artifact over every case at every batch size, and judge."""
    result = Comparison(backend.artifact, backend.name, backend.device)
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
    _judge(result)
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
        Flip(case.name, int(i), int(wanted[i]), int(labels[i]), float(case.margins[i]))
        for i in flipped
        if i not in known
    ]


def _score(result: Comparison, case: Case, wanted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Keep agreement and accuracy at the batch size with the least agreement."""
    agreement = float((wanted == labels).mean())
    if result.label_agreement is not None and agreement >= result.label_agreement:
        return
    result.label_agreement = agreement
    right, expected_right = case.right(labels), case.right(wanted)
    result.accuracy = share(right)
    if len(right):
        result.accuracy_delta = float(right.mean() - expected_right.mean())
        result.paired = compare_accuracy(expected_right, right)


def share(right: NDArray[np.bool_]) -> float | None:
    """Of those that are right, a fraction; None where there are none at all."""
    return float(right.mean()) if len(right) else None


def _judge(result: Comparison) -> None:
    """Floats within tolerance, no flip that rounding cannot explain; the reason says what would have been needed."""
    floats = {k: v for k, v in result.max_abs_diff.items() if k not in ("label", "category")}
    worst = max(floats, key=lambda name: np.inf if np.isnan(floats[name]) else floats[name])
    largest = floats[worst]
    unexplained = [flip for flip in result.flips if not flip.margin <= 2 * largest]
    if np.isfinite(largest) and not unexplained:
        result.tolerance_needed = largest
    if not largest <= TOLERANCE:
        result.reason = f"{worst} differs by {largest:.3g}; allowed {TOLERANCE:g}"
    elif unexplained:
        flip = unexplained[0]
        result.reason = (
            f"{len(unexplained)} labels or categories differ beyond rounding; first: image {flip.index} of"
            f" {flip.images}, label {flip.found} for {flip.reference} with a margin of {flip.margin:.3g}"
        )
    else:
        result.passed = True
        result.reason = f"largest difference {largest:.3g}; allowed {TOLERANCE:g}"
    result.flips = result.flips[:_MAX_FLIPS_LISTED]
