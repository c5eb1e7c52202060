"""Batches of images, cut on the device from sets that live there, or streamed to it where they are too large.

Which images make up a batch depends on the seed, the epoch and the step alone, never on what was drawn before, so a
resumed run sees the same batches. Of several processes, each gets its share of every batch.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aae_toolkit.data.directory import Split
from aae_toolkit.launch import ALONE, World
from aae_toolkit.models.networks import scale

_UNLABELED_STREAM, _LABELED_STREAM = 0, 1

Indices = tuple[Tensor, Tensor | None]  # int64 [B] each, of the unlabelled and the labelled images of a batch


class Batch(NamedTuple):
    """`images` float32 [B, C, H, W] in [0, 1]; labelled images and classes int64 [B] where the variant has them."""

    images: Tensor
    labeled_images: Tensor | None = None
    labels: Tensor | None = None


class Batches:
    """One epoch is one pass over the unlabelled images, while the labelled ones cycle."""

    def __init__(
        self,
        unlabeled: Split,
        labeled: Split | None,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        streams: bool = False,
        loader_options: Mapping[str, Any] = MappingProxyType({}),
        world: World = ALONE,
    ) -> None:
        """Move the images to `device`, as uint8, unless they are to be streamed.

        Args:
            unlabeled: images of the epoch; their labels are never read.
            labeled: the labelled set, None for the unsupervised variant.
            batch_size: B, of all processes together, who divide it evenly. The epoch is cut into equal batches of at
                most B, or of 3 where B is 2 and the images are odd: BatchNorm needs 2 in each.
            seed: of every permutation.
            device: where batches are made.
            streams: leave the images where they are, and send each batch, cut by a DataLoader
            loader_options: with these.
            world: the processes; where they cannot divide an epoch evenly, a few images of it are left out.
        """
        self.seed, self.device, self.world = seed, device, world
        self.batch_size = batch_size
        self._loader_options = loader_options
        self.streams = streams
        self.n_images = len(unlabeled)
        self.n_labeled = None if labeled is None else len(labeled)
        where = torch.device("cpu") if streams else device
        self._cutter = _Cutter(unlabeled, labeled, where)
        n = self.n_images // world.size
        self.steps_per_epoch = max(1, min(-(-n * world.size // batch_size), n // 2))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Batches of one epoch from one of its steps on, both counted from 0."""
        steps = self._indices(epoch)[first_step:]
        cut: Iterable[Batch] = map(self._cutter.__getitem__, steps)
        if self.streams:
            cut = DataLoader(
                self._cutter,
                sampler=steps,  # an item is a whole batch
                batch_size=None,
                worker_init_fn=_outlive_signals,
                **self._loader_options,
            )
        for batch in cut:
            images, labeled_images, labels = (None if part is None else self._send(part) for part in batch)
            assert images is not None
            yield Batch(scale(images), None if labeled_images is None else scale(labeled_images), labels)

    def _send(self, part: Tensor) -> Tensor:
        """To the device, without waiting where the part is in pinned memory."""
        return part.to(self.device, non_blocking=True)

    def _indices(self, epoch: int) -> list[Indices]:
        """This process's share of each batch of an epoch; sent to where the images are at once, not batch by batch."""
        n_steps, size = self.steps_per_epoch, self.world.size
        order = self._permutation(_UNLABELED_STREAM, epoch, self.n_images)
        shares = order[: self.n_images // size * size].reshape(-1, size)  # a column a process
        unlabeled = self._cutter.positions(shares[:, self.world.rank]).tensor_split(n_steps)
        if self.n_labeled is None:
            return [(share, None) for share in unlabeled]
        row = self._labeled_indices(epoch * n_steps, n_steps)[:, self.world.rank :: size]
        return list(zip(unlabeled, self._cutter.positions(row), strict=True))

    def _labeled_indices(self, first_step: int, n_steps: int) -> NDArray[np.int64]:
        """Labelled images of each step, [n_steps, B], cut from an endless row of permutations of the labelled set."""
        assert self.n_labeled is not None
        n, first = self.n_labeled, first_step * self.batch_size
        last = first + n_steps * self.batch_size
        rounds = range(first // n, (last - 1) // n + 1)
        row = np.concatenate([self._permutation(_LABELED_STREAM, r, n) for r in rounds])
        return row[first - rounds.start * n : last - rounds.start * n].reshape(n_steps, self.batch_size)

    def _permutation(self, stream: int, number: int, n: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, stream, number]).permutation(n)


class _Cutter(Dataset[Batch]):
    """Cuts batches of uint8 images where the images are: on the device, or in host memory or a mapped file."""

    def __init__(self, unlabeled: Split, labeled: Split | None, device: torch.device) -> None:
        self.images = torch.from_numpy(unlabeled.images).to(device)
        self.labeled_images = self.labels = None
        if labeled is not None:
            self.labeled_images = torch.from_numpy(labeled.images).to(device)
            self.labels = torch.from_numpy(labeled.labels).to(device)

    def __getitem__(self, indices: Indices) -> Batch:
        unlabeled, labeled = indices
        if labeled is None or self.labeled_images is None or self.labels is None:
            return Batch(self.images[unlabeled])
        return Batch(self.images[unlabeled], self.labeled_images[labeled], self.labels[labeled])

    def positions(self, indices: NDArray[np.int64]) -> Tensor:
        """Indices, sent to where the images are."""
        return torch.from_numpy(np.ascontiguousarray(indices)).to(self.images.device)


def _outlive_signals(worker: int) -> None:
    """Workers end with their parent: a signal to the whole group must not reach them first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
