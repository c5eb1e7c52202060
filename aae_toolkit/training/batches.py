"""Batches cut on the device from uint8 images that live there once.

Which images make up a batch depends on the seed, the epoch and the step alone, never on what was drawn before, so a
resumed run sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aae_toolkit.data.directory import Split
from aae_toolkit.models.networks import scale

_UNLABELED_STREAM, _LABELED_STREAM = 0, 1


class Batch(NamedTuple):
    """`images` float32 [B, C, H, W] in [0, 1]; labelled images and classes int64 [B] where the variant has them."""

    images: Tensor
    labeled_images: Tensor | None = None
    labels: Tensor | None = None


class Batches:
    """One epoch is one pass over the unlabelled images, while the labelled ones cycle."""

    def __init__(
        self, unlabeled: Split, labeled: Split | None, batch_size: int, seed: int, device: torch.device
    ) -> None:
        """Move the images to `device`, as uint8.

        Args:
            unlabeled: images of the epoch; their labels are never read.
            labeled: the labelled set, None for the unsupervised variant.
            batch_size: B. The epoch is cut into equal batches of at most B, or of 3 where B is 2 and the
                images are odd: BatchNorm needs 2 in each.
            seed: of every permutation.
            device: where batches are made.
        """
        self.seed = seed
        self.batch_size = batch_size
        self.images = torch.from_numpy(unlabeled.images).to(device)
        self.labeled_images = self.labels = None
        if labeled is not None:
            self.labeled_images = torch.from_numpy(labeled.images).to(device)
            self.labels = torch.from_numpy(labeled.labels).to(device)
        n = len(unlabeled)
        self.steps_per_epoch = max(1, min(-(-n // batch_size), n // 2))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch, counted from 0."""
        device = self.images.device
        order = torch.from_numpy(self._permutation(_UNLABELED_STREAM, epoch, len(self.images))).to(device)
        for i, indices in enumerate(torch.tensor_split(order, self.steps_per_epoch)):
            images = scale(self.images[indices])
            if self.labeled_images is None or self.labels is None:
                yield Batch(images)
            else:
                chosen = torch.from_numpy(self._labeled_indices(epoch * self.steps_per_epoch + i)).to(device)
                yield Batch(images, scale(self.labeled_images[chosen]), self.labels[chosen])

    def _labeled_indices(self, step: int) -> NDArray[np.int64]:
        """Positions `step * B` to `(step + 1) * B` of an endless row of permutations of the labelled set."""
        assert self.labels is not None
        n = len(self.labels)
        first, last = step * self.batch_size, (step + 1) * self.batch_size
        rounds = range(first // n, (last - 1) // n + 1)
        row = np.concatenate([self._permutation(_LABELED_STREAM, r, n) for r in rounds])
        return row[first - rounds.start * n : last - rounds.start * n]

    def _permutation(self, stream: int, number: int, n: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, stream, number]).permutation(n)
