"""Parity: is every exported artifact the same classifier as the trained model?

The reference is the eager model rebuilt from the export directory's weights. Every artifact is run on its backend over
a whole split and over images that no data set has (black, white, noise), at several batch sizes, and all its outputs
are compared. ONNX files are also evaluated by the standard's own reference, which shares no kernel with either runtime.
Where nothing was compared, nothing is proven: that is a refusal, never a pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import ARBITER, Backend, BackendName, Runnable, Tensors, open_backend, runnables
from aae_toolkit.data.directory import Split, SplitName
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Contract, Format, contract_of
from aae_toolkit.export.manifest import Manifest, read_manifest
from aae_toolkit.export.writer import CARD_FILE, WEIGHTS_FILE
from aae_toolkit.files import write_text
from aae_toolkit.models.description import read_description
from aae_toolkit.progress import Progress
from aae_toolkit.statistics import PairedAccuracy, compare_accuracy

BATCH_SIZES = (1, 7, 256)
PROBE_SIZES = (1, 2, 7, 64, 257)
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


@dataclass
class ParityReport:
    """All comparisons over one split of `n` images and the probes; truthy where there are some and every one holds."""

    n: int
    split: SplitName
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


def check_parity(
    export_dir: Path,
    split: Split,
    split_name: SplitName,
    *,
    class_names: tuple[str, ...] = (),
    device: str = "cpu",
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
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
        progress: told of each comparison.

    Raises:
        AaeError: a missing, damaged or unloadable file, images of another shape, or other classes.
        ParityError: nothing to compare.
    """
    manifest = read_manifest(export_dir)
    manifest.verify(export_dir)
    description = read_description(export_dir)
    description.require_image_shape(split.images.shape[1:])
    description.require_class_names(class_names)
    if len(split) == 0 or not manifest.artifacts:
        raise ParityError(
            f"nothing compared: {len(split)} images, {len(manifest.artifacts)} artifacts; parity is not proven"
        )
    reference = _Reference(export_dir, manifest, split, split_name, batch_sizes)
    pairs = [r for artifact in ARTIFACTS for r in _to_compare(manifest, artifact)]
    results = []
    for runnable in progress.track(pairs, "parity", len(pairs)):
        backend = open_backend(export_dir, runnable, device=device)
        contract = contract_of(runnable.artifact, description)
        results.append(_compare(backend, contract, reference, runnable.artifact))
        backend.close()
    whole_split = reference.cases[0]
    accuracy = _share(whole_split.right(whole_split.expected["classifier"]["label"]))
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


def _to_compare(manifest: Manifest, artifact: ArtifactName) -> list[Runnable]:
    """Every exported file on its backend, ONNX on the arbiter too, and the classifier as `torch.compile` deploys it."""
    skip = {"eager"} if artifact == "classifier" else {"eager", "compiled"}
    pairs = [r for r in runnables(manifest, artifact, WEIGHTS_FILE) if r.backend not in skip]
    onnx_files = [e.file for e in manifest.artifacts if (e.artifact, e.format) == (artifact, Format.ONNX)]
    return pairs + [Runnable(artifact, ARBITER, file) for file in onnx_files]


@dataclass(frozen=True)
class _Case:
    """Images, what every artifact is fed of them, and what the reference says; `margins` [N] are in probability.

    Of a whole set, each batch size passes over all of it; else a batch of each size is cut from its beginning. Where
    there are `labels` [N], answers are scored by them.
    """

    name: str
    whole: bool
    batch_sizes: tuple[int, ...]
    inputs: dict[ArtifactName, Tensors]
    expected: dict[ArtifactName, Tensors]
    margins: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    def passes(self, artifact: ArtifactName) -> Iterator[tuple[int, list[Tensors], Tensors]]:
        """Batch size, batches, and the outputs that these must give together."""
        feeds, expected = self.inputs[artifact], self.expected[artifact]
        for size in self.batch_sizes:
            if self.whole:
                yield size, _batches(feeds, size), expected
            else:
                yield size, [_first(feeds, size)], _first(expected, size)

    def sample(self, n: int) -> _Case:
        """The first `n` images in one batch."""
        return dataclasses.replace(self, whole=False, batch_sizes=(min(n, len(self.margins)),))

    def right(self, predicted: NDArray[Any]) -> NDArray[np.bool_]:
        """Of which labelled images, among the first, these are the labels: bool [n]."""
        assert self.labels is not None
        truth = self.labels[: len(predicted)]
        found: NDArray[np.bool_] = (predicted == truth)[truth != UNLABELED]
        return found


class _Reference:
    """What the trained model says of the split and of the probes, computed once."""

    def __init__(
        self, export_dir: Path, manifest: Manifest, split: Split, name: SplitName, batch_sizes: tuple[int, ...]
    ) -> None:
        eager = {a: open_backend(export_dir, runnables(manifest, a, WEIGHTS_FILE)[0]) for a in ARTIFACTS}

        def case(
            name: str, images: NDArray[np.uint8], batch_sizes: tuple[int, ...], labels: NDArray[np.int64] | None = None
        ) -> _Case:
            inputs: dict[ArtifactName, Tensors] = {"classifier": {"images": images}, "encoder": {"images": images}}
            expected: dict[ArtifactName, Tensors] = {}
            for artifact in ARTIFACTS:
                if artifact == "decoder":
                    inputs["decoder"] = expected["encoder"]
                expected[artifact] = _run(eager[artifact], _batches(inputs[artifact], max(BATCH_SIZES)))
            top2 = np.sort(expected["encoder"]["y"], axis=1)[:, -2:]
            return _Case(name, labels is not None, batch_sizes, inputs, expected, top2[:, 1] - top2[:, 0], labels)

        self.cases = [
            case(f"{name} images", split.images, batch_sizes, split.labels),
            case("probes", probes(split.images.shape[1:]), PROBE_SIZES),
        ]
        for backend in eager.values():
            backend.close()


def probes(image_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Images that no data set has, uint8 [257, C, H, W]: black, white, then noise of growing brightness."""
    n = max(PROBE_SIZES)
    noise = np.random.default_rng(0).random((n, *image_shape)) * np.linspace(0, 256, n).reshape(-1, 1, 1, 1)
    images = noise.astype(np.uint8)
    images[0], images[1] = 0, 255
    return images


def _batches(feeds: Tensors, batch_size: int) -> list[Tensors]:
    n = len(next(iter(feeds.values())))
    return [{name: a[i : i + batch_size] for name, a in feeds.items()} for i in range(0, n, batch_size)]


def _first(tensors: Tensors, n: int) -> Tensors:
    return {name: a[:n] for name, a in tensors.items()}


def _run(backend: Backend, batches: list[Tensors]) -> Tensors:
    outputs = [backend.run(feeds) for feeds in batches]
    return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}


def _compare(backend: Backend, contract: Contract, reference: _Reference, artifact: ArtifactName) -> Comparison:
    """Run one artifact over every case at every batch size, and judge."""
    result = Comparison(backend.artifact, backend.name, backend.device)
    for case in reference.cases:
        if backend.name == ARBITER:
            case = case.sample(_N_ARBITRATED)
        for batch_size, batches, expected in case.passes(artifact):
            where = f"at batch size {batch_size} of {case.name}"
            try:
                found = _run(backend, batches)
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
        share = float((expected != found).mean())
        return share, share
    differences = np.abs(expected - found)
    return float(differences.max()), float((differences / np.maximum(np.abs(expected), TOLERANCE)).max())


def _keep_largest(differences: dict[str, float], name: str, new: float) -> None:
    """Nan is larger than any number, and stays."""
    old = differences.get(name, 0.0)
    differences[name] = old if np.isnan(old) else new if np.isnan(new) else max(old, new)


def _list_flips(result: Comparison, case: _Case, expected: Tensors, found: Tensors) -> None:
    """Add what no other batch size flipped already."""
    wanted, labels = expected["label"], found["label"]
    flipped = np.flatnonzero((wanted != labels) | (expected["category"] != found["category"]))
    known = {flip.index for flip in result.flips if flip.images == case.name}
    result.flips += [
        Flip(case.name, int(i), int(wanted[i]), int(labels[i]), float(case.margins[i]))
        for i in flipped
        if i not in known
    ]


def _score(result: Comparison, case: _Case, wanted: NDArray[Any], labels: NDArray[Any]) -> None:
    """Keep agreement and accuracy at the batch size with the least agreement."""
    agreement = float((wanted == labels).mean())
    if result.label_agreement is not None and agreement >= result.label_agreement:
        return
    result.label_agreement = agreement
    right, expected_right = case.right(labels), case.right(wanted)
    result.accuracy = _share(right)
    if len(right):
        result.accuracy_delta = float(right.mean() - expected_right.mean())
        result.paired = compare_accuracy(expected_right, right)


def _share(right: NDArray[np.bool_]) -> float | None:
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


def _summary(report: ParityReport) -> dict[str, Any]:
    return {
        "passed": report.passed,
        "n": report.n,
        "split": report.split,
        "tolerance": report.tolerance,
        "results": [
            {"artifact": r.artifact, "backend": r.backend, "passed": r.passed, "reason": r.reason}
            for r in report.results
        ],
    }
