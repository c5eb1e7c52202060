"""Cases: images with the inputs and the expected outputs of every artifact, from splits, probes and golden vectors."""

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
from aae_toolkit.data.directory import Split
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Precision, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import WEIGHTS_FILE

BATCH_SIZES = (1, 7, 256)
PROBE_SIZES = (1, 2, 7, 64, 257)


@dataclass(frozen=True)
class Case:
    """Images, with the inputs and the reference outputs of every artifact.

    Each batch size passes over the whole set where `whole`; else one batch of each size is cut from its beginning.
    Answers are scored where there are `labels` [N].
    """

    name: str
    inputs: dict[ArtifactName, Tensors]
    expected: dict[ArtifactName, Tensors]
    batch_sizes: tuple[int, ...]
    whole: bool
    labels: NDArray[np.int64] | None = None

    @functools.cached_property
    def top2(self) -> NDArray[np.float64]:
        """Reference probabilities of the second likeliest and the likeliest category of each image, [N, 2]."""
        return np.sort(self.expected["encoder"]["y"], axis=1)[:, -2:].astype(np.float64)

    def __len__(self) -> int:
        """Images."""
        return len(self.top2)

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
        return dataclasses.replace(self, whole=False, batch_sizes=(min(n, len(self)),))

    def right(self, predicted: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each prediction [n] for the first n images is right, of those with a label: bool [labelled]."""
        assert self.labels is not None
        truth = self.labels[: len(predicted)]
        correct: NDArray[np.bool_] = (predicted == truth)[truth != UNLABELED]
        return correct


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


def reference_cases(export: ExportDirectory, split: Split, name: str, batch_sizes: tuple[int, ...]) -> list[Case]:
    """Outputs of the trained model, rebuilt from an export's weights, for the images of a split and for the probes."""
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
    """The golden images; at reduced precision, with the outputs that the file gave where it was written.

    Raises:
        AaeError: damaged vectors, or vectors of another model.
    """
    vectors = export.golden
    expected = vectors.outputs
    if precision != "fp32":
        expected = expected | {"classifier": export.reduced_golden(precision)}
    return Case("golden images", vectors.inputs, expected, (1, len(vectors)), whole=True)


def probes(image_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Synthetic probes, uint8 [257, C, H, W]: black, white, then noise of growing brightness."""
    n = max(PROBE_SIZES)
    noise = np.random.default_rng(0).random((n, *image_shape)) * np.linspace(0, 256, n).reshape(-1, 1, 1, 1)
    images = noise.astype(np.uint8)
    images[0], images[1] = 0, 255
    return images
