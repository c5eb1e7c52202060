"""Parity: is every exported artifact the same classifier as the trained model?

The reference is the eager model rebuilt from the export directory's weights. Every artifact is run on its backend over
a whole split, at several batch sizes, and all its outputs are compared. Where nothing was compared, nothing is proven:
that is a refusal, never a pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import Backend, BackendName, Runnable, Tensors, open_backend, runnables
from aae_toolkit.data.directory import Split, SplitName
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError, ParityError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Contract, contract_of
from aae_toolkit.export.manifest import Manifest, read_manifest
from aae_toolkit.export.writer import CARD_FILE, WEIGHTS_FILE
from aae_toolkit.files import write_text
from aae_toolkit.models.description import read_description
from aae_toolkit.progress import Progress

BATCH_SIZES = (1, 7, 256)
TOLERANCE = 1e-4  # largest absolute difference of a float32 output
_MAX_FLIPS_LISTED = 100


@dataclass(frozen=True)
class Flip:
    """An image whose label differs; `margin` is between the reference's two likeliest categories, in probability."""

    index: int
    reference: int
    found: int
    margin: float


@dataclass
class Comparison:
    """One artifact on one backend against the reference; truthy where it is the same classifier.

    `max_abs_diff` by output name, over all batch sizes; for integer outputs it is the share of values that differ.
    `label_agreement` and the accuracies are fractions, None where the artifact has no label or the data none.
    """

    artifact: str
    backend: BackendName
    device: str
    passed: bool = False
    max_abs_diff: dict[str, float] = field(default_factory=dict)
    label_agreement: float | None = None
    accuracy: float | None = None
    accuracy_delta: float | None = None
    flips: list[Flip] = field(default_factory=list)
    reason: str = ""

    def __bool__(self) -> bool:
        """Whether parity holds."""
        return self.passed


@dataclass
class ParityReport:
    """All comparisons over one split of `n` images; truthy where there are some and every one holds."""

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
            result["max_abs_diff"] = {k: v if np.isfinite(v) else None for k, v in result["max_abs_diff"].items()}
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
    reference = _Reference(export_dir, manifest, split)
    pairs = [r for artifact in ARTIFACTS for r in _to_compare(manifest, artifact)]
    results = []
    for runnable in progress.track(pairs, "parity", len(pairs)):
        backend = open_backend(export_dir, runnable, device=device)
        contract = contract_of(runnable.artifact, description)
        results.append(_compare(backend, contract, reference, runnable.artifact, batch_sizes))
        backend.close()
    accuracy = reference.accuracy(reference.outputs["classifier"]["label"])
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
    """Every exported file on its backend, and the compiled classifier, which is what `torch.compile` would deploy."""
    skip = {"eager"} if artifact == "classifier" else {"eager", "compiled"}
    return [r for r in runnables(manifest, artifact, WEIGHTS_FILE) if r.backend not in skip]


class _Reference:
    """What the trained model says of the split, computed once."""

    def __init__(self, export_dir: Path, manifest: Manifest, split: Split) -> None:
        self.labels = split.labels
        self.inputs: dict[ArtifactName, Tensors] = {
            "classifier": {"images": split.images},
            "encoder": {"images": split.images},
        }
        self.outputs: dict[ArtifactName, Tensors] = {}
        for artifact in ARTIFACTS:
            if artifact == "decoder":
                self.inputs["decoder"] = self.outputs["encoder"]
            eager = runnables(manifest, artifact, WEIGHTS_FILE)[0]
            backend = open_backend(export_dir, eager)
            batches = [backend.run(feeds) for feeds in _batches(self.inputs[artifact], max(BATCH_SIZES))]
            self.outputs[artifact] = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
            backend.close()
        top2 = np.sort(self.outputs["encoder"]["y"], axis=1)[:, -2:]
        self.margins = top2[:, 1] - top2[:, 0]

    def accuracy(self, predicted: NDArray[Any]) -> float | None:
        """Share of labelled images with their true label; None where no image has one."""
        known = self.labels != UNLABELED
        return float((predicted[known] == self.labels[known]).mean()) if known.any() else None


def _batches(feeds: Tensors, batch_size: int) -> list[Tensors]:
    n = len(next(iter(feeds.values())))
    return [{name: a[i : i + batch_size] for name, a in feeds.items()} for i in range(0, n, batch_size)]


def _compare(
    backend: Backend, contract: Contract, reference: _Reference, artifact: ArtifactName, batch_sizes: tuple[int, ...]
) -> Comparison:
    """Run one artifact over the split at every batch size, and judge."""
    expected = reference.outputs[artifact]
    result = Comparison(backend.artifact, backend.name, backend.device)
    for batch_size in batch_sizes:
        try:
            batches = [backend.run(feeds) for feeds in _batches(reference.inputs[artifact], batch_size)]
        except Exception as error:  # every runtime has its own, and any of them is a refusal
            result.reason = f"cannot run at batch size {batch_size}: {' '.join(str(error).split())[:200]}"
            return result
        found = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        problem = _shape_problem(contract, expected, found)
        if problem:
            result.reason = f"at batch size {batch_size}: {problem}"
            return result
        for name, values in expected.items():
            difference = _difference(values, found[name])
            result.max_abs_diff[name] = max(result.max_abs_diff.get(name, 0.0), difference)  # nan stays: see _judge
            if np.isnan(difference):
                result.max_abs_diff[name] = difference
        if artifact == "classifier":
            _count_flips(result, expected, found, reference)
    _judge(result, reference)
    return result


def _shape_problem(contract: Contract, expected: Tensors, found: Tensors) -> str | None:
    for spec in contract.outputs:
        if spec.name not in found:
            return f"no output {spec.name!r}; it has {', '.join(found)}"
        want, have = expected[spec.name], found[spec.name]
        if have.shape != want.shape or have.dtype != want.dtype:
            return f"{spec.name} is {have.dtype} {have.shape}, the contract says {want.dtype} {want.shape}"
    return None


def _difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if np.issubdtype(expected.dtype, np.integer):
        return float((expected != found).mean())
    return float(np.abs(expected - found).max())


def _count_flips(result: Comparison, expected: Tensors, found: Tensors, reference: _Reference) -> None:
    """Keep the flips of every batch size, and the accuracy at the one with the least agreement."""
    wanted, labels = expected["label"], found["label"]
    flipped = np.flatnonzero((wanted != labels) | (expected["category"] != found["category"]))
    known = {flip.index for flip in result.flips}
    result.flips += [
        Flip(int(i), int(wanted[i]), int(labels[i]), float(reference.margins[i])) for i in flipped if i not in known
    ]
    agreement = float((wanted == labels).mean())
    if result.label_agreement is not None and agreement >= result.label_agreement:
        return
    result.label_agreement = agreement
    result.accuracy = reference.accuracy(labels)
    expected_accuracy = reference.accuracy(wanted)
    if result.accuracy is not None and expected_accuracy is not None:
        result.accuracy_delta = result.accuracy - expected_accuracy


def _judge(result: Comparison, reference: _Reference) -> None:
    """Floats within tolerance, no flip that rounding cannot explain; the reason says what would have been needed."""
    floats = {k: v for k, v in result.max_abs_diff.items() if k not in ("label", "category")}
    worst = max(floats, key=lambda name: np.inf if np.isnan(floats[name]) else floats[name])
    largest = floats[worst]
    unexplained = [flip for flip in result.flips if not flip.margin <= 2 * largest]
    if not largest <= TOLERANCE:
        result.reason = f"{worst} differs by {largest:.3g}; allowed {TOLERANCE:g}"
    elif unexplained:
        flip = unexplained[0]
        result.reason = (
            f"{len(unexplained)} labels or categories differ beyond rounding; first: image {flip.index},"
            f" label {flip.found} for {flip.reference} with a margin of {flip.margin:.3g}"
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
