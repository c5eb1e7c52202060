"""Test cases of parity: inputs and expected outputs of every artifact, from splits, probes and golden vectors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.protocol import Backend, Runnable
from aae_toolkit.backends.registry import open_backend
from aae_toolkit.data.borders import border_brightness
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.export.contract import ARTIFACTS, IMAGE, ArtifactName, Precision, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import WEIGHTS_FILE

BATCH_SIZES = (1, 7, 256)
PROBE_SIZES = (1, 2, 7, 64, 257)
_FACTORS = (2, 3)


@dataclass(frozen=True)
class Case:
    """Images, with the inputs and the reference outputs of every artifact.

    Attributes:
        name: name of the image set, for messages.
        inputs: inputs by artifact and name, each [N, ...].
        expected: outputs of the reference by artifact and name, each [N, ...].
        batch_sizes: batch sizes to run.
        whole: run all images at each batch size; else only the first batch of that size.
        labels: true labels, int64 [N], to score accuracy with; None where there are none.
    """

    name: str
    inputs: dict[ArtifactName, Tensors]
    expected: dict[ArtifactName, Tensors]
    batch_sizes: tuple[int, ...]
    whole: bool
    labels: NDArray[np.int64] | None = None

    @functools.cached_property
    def top2(self) -> NDArray[np.float64]:
        """Reference probabilities of the two most likely categories of each image, ascending: float64 [N, 2]."""
        return np.sort(self.expected["encoder"]["y"], axis=1)[:, -2:].astype(np.float64)

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.top2)

    def passes(self, artifact: ArtifactName) -> Iterator[tuple[int, list[Tensors], Tensors]]:
        """Yield each batch size with its batches and their expected outputs, joined."""
        feeds, expected = self.inputs[artifact], self.expected[artifact]
        for size in self.batch_sizes:
            if self.whole:
                yield size, batches_of(feeds, size), expected
            else:
                yield size, [_first(feeds, size)], _first(expected, size)

    def sample(self, n: int) -> Case:
        """Return the first `n` images as a case of one batch."""
        return dataclasses.replace(self, whole=False, batch_sizes=(min(n, len(self)),))

    def right(self, predicted: NDArray[Any]) -> NDArray[np.bool_]:
        """Compare predictions [n] with the labels of the first n images; return bool, one for each labelled image."""
        assert self.labels is not None
        truth = self.labels[: len(predicted)]
        correct: NDArray[np.bool_] = (predicted == truth)[truth != UNLABELED]
        return correct


def batches_of(feeds: Tensors, batch_size: int) -> list[Tensors]:
    """Cut arrays [N, ...] into batches; the last may be smaller."""
    n = len(next(iter(feeds.values())))
    return [{name: a[i : i + batch_size] for name, a in feeds.items()} for i in range(0, n, batch_size)]


def _first(tensors: Tensors, n: int) -> Tensors:
    return {name: a[:n] for name, a in tensors.items()}


def run_batches(backend: Backend, batches: list[Tensors]) -> Tensors:
    """Run the batches in order; return the joined outputs by name."""
    outputs = [backend.run(feeds) for feeds in batches]
    return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}


def reference_cases(export: ExportDirectory, split: Split, name: str, batch_sizes: tuple[int, ...]) -> list[Case]:
    """Run the trained model, rebuilt from the weights of an export, on the images of a split and on the probes."""
    with ExitStack() as stack:
        eager = {
            artifact: stack.enter_context(open_backend(export, Runnable(artifact, "eager", WEIGHTS_FILE)))
            for artifact in ARTIFACTS
        }
        return [
            _case(eager, name, split.images, batch_sizes, split.labels),
            _case(eager, "probes", probes(split.images.shape[1:]), PROBE_SIZES),
        ]


def _case(
    eager: Mapping[ArtifactName, Backend],
    name: str,
    images: NDArray[np.uint8],
    batch_sizes: tuple[int, ...],
    labels: NDArray[np.int64] | None = None,
) -> Case:
    inputs: dict[ArtifactName, Tensors] = {"classifier": {"images": images}, "encoder": {"images": images}}
    expected: dict[ArtifactName, Tensors] = {}
    for artifact in ARTIFACTS:
        if artifact == "decoder":
            inputs["decoder"] = expected["encoder"]
        expected[artifact] = run_batches(eager[artifact], batches_of(inputs[artifact], max(BATCH_SIZES)))
    return Case(name, inputs, expected, batch_sizes, whole=labels is not None, labels=labels)


def golden_case(export: ExportDirectory, precision: Precision = "fp32") -> Case:
    """Return the golden images as a case; at reduced precision, with the outputs recorded when the file was written.

    Raises:
        AaeError: damaged vectors, or vectors of another model.
    """
    vectors = export.golden
    expected = vectors.outputs
    if precision != "fp32":
        expected = expected | {"classifier": export.reduced_golden(precision)}
    return Case("golden images", vectors.inputs, expected, (1, len(vectors)), whole=True)


def of_whole_images(case: Case, preparation: Preparation) -> list[Case]:
    """Return cases of the classifier of decoded images, whose preparation gives the images of `case`.

    Images of the model's size stay as they are, up to inversion. Flat images stay flat at any size, and are cases of
    their own. Where inversion is `auto`, the preparation gives no image with a light border: those are left out.
    """
    images = case.inputs["classifier"]["images"]
    seen = np.ones(len(images), bool)
    if preparation.invert == "auto":
        seen = np.array([border_brightness(image) <= 127.5 for image in images])
    given = (255 - images if preparation.invert == "yes" else images).transpose(0, 2, 3, 1)
    flat = seen & (given.min(axis=(1, 2, 3)) == given.max(axis=(1, 2, 3)))
    cases = [_only(case, seen, given, case.name)]
    for factor in _FACTORS if flat.any() else ():
        enlarged = given.repeat(factor, axis=1).repeat(factor, axis=2)
        cases.append(_only(case, flat, enlarged, f"flat images {factor} times as large"))
    return cases


def _only(case: Case, chosen: NDArray[np.bool_], given: NDArray[np.uint8], name: str) -> Case:
    """Return a case of the chosen images, given as [N, H, W, C]."""
    expected: dict[ArtifactName, Tensors] = {
        artifact: {output: values[chosen] for output, values in case.expected[artifact].items()}
        for artifact in ("encoder", "classifier")
    }
    expected[IMAGE] = expected["classifier"]
    labels = None if case.labels is None else case.labels[chosen]
    inputs: dict[ArtifactName, Tensors] = {IMAGE: {"image": np.ascontiguousarray(given[chosen])}}
    return dataclasses.replace(case, name=name, inputs=inputs, expected=expected, labels=labels)


def probes(image_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Create synthetic probes, uint8 [257, C, H, W]: black, white, then noise of increasing brightness."""
    n = max(PROBE_SIZES)
    noise = np.random.default_rng(0).random((n, *image_shape)) * np.linspace(0, 256, n).reshape(-1, 1, 1, 1)
    images = noise.astype(np.uint8)
    images[0], images[1] = 0, 255
    return images
