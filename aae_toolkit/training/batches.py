"""Batches of images, cut from sets that live on the device, or streamed to it where the sets are too large.

The images of a batch depend on the seed, the epoch and the step alone, never on earlier draws, and a resumed run sees
the same batches. Each of several processes gets its share of every batch.
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

from aae_toolkit.data.split import Split
from aae_toolkit.distributed.world import ALONE, World
from aae_toolkit.models.networks import scale
from aae_toolkit.training.standardizing import Moments

_UNLABELED_STREAM, _LABELED_STREAM, _PARTNER_STREAM, _VIEW_STREAM = 0, 1, 2, 3

_SAMPLE = 2**16  # most embeddings that moments are taken of
_LEAST_DEVIATION = 0.01  # of a feature that hardly varies, as a fraction of the mean deviation
_TINY = 1e-12


class Indices(NamedTuple):
    """Positions of a batch's images in their sets, int64 [B] each; partners are in the unlabelled set.

    Where embeddings of views are stored, the numbers of the views to take, int64 [B] too.
    """

    unlabeled: Tensor
    labeled: Tensor | None = None
    partners: Tensor | None = None
    views: Tensor | None = None
    labeled_views: Tensor | None = None
    partner_views: Tensor | None = None


class Batch(NamedTuple):
    """Images float32 [B, C, H, W] in [0, 1], or embeddings of images float32 [B, F], as the encoder takes them.

    Parts that the configuration does not need are None. Embeddings of partners and labelled images are of a view.

    Attributes:
        images: unlabelled images.
        labeled_images: labelled images; their B may differ.
        labels: classes of the labelled images, int64 [B].
        partners: a neighbour of each of `images`, or the image itself.
        indices: positions of `images` in the unlabelled set, int64 [B].
        partner_indices: positions of the partners there, int64 [B].
        views: embeddings of a view of each of `images`; None where views are made from the images themselves.
        thumbnails: pictures of `images` [B, C, H, W] in [0, 1]; None where `images` are such.
    """

    images: Tensor
    labeled_images: Tensor | None = None
    labels: Tensor | None = None
    partners: Tensor | None = None
    indices: Tensor | None = None
    partner_indices: Tensor | None = None
    views: Tensor | None = None
    thumbnails: Tensor | None = None

    @property
    def pictures(self) -> Tensor:
        """Pictures that the decoder rebuilds, [B, C, H, W] in [0, 1]."""
        return self.images if self.thumbnails is None else self.thumbnails


class Batches:
    """Batches of all epochs: one epoch is one pass over the unlabelled images, while the labelled ones cycle."""

    def __init__(
        self,
        unlabeled: Split,
        labeled: Split | None,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        labeled_batch_size: int | None = None,
        neighbors: NDArray[np.int64] | None = None,
        streams: bool = False,
        loader_options: Mapping[str, Any] = MappingProxyType({}),
        world: World = ALONE,
    ) -> None:
        """Move the images to the device, as uint8, unless they are to be streamed.

        Args:
            unlabeled: images of the epoch; their labels are never read.
            labeled: the labelled set; None for the unsupervised variant.
            batch_size: B, images a step of all processes together, a multiple of their number. The epoch is cut into
                equal batches of at most B, or of 3 where B is 2 and the number of images is odd: BatchNorm needs 2.
            seed: seed of every permutation.
            device: device of the batches.
            labeled_batch_size: labelled images a step; None: `batch_size`.
            neighbors: neighbours of each unlabelled image, int64 [N, k]; its partner is one of them, drawn each epoch.
            streams: True leaves the images where they are, and a DataLoader cuts and sends each batch.
            loader_options: further arguments of that DataLoader.
            world: the processes; a few images are left out where they cannot divide an epoch evenly.
        """
        self.seed, self.device, self.world = seed, device, world
        self.batch_size = batch_size
        self.labeled_batch_size = labeled_batch_size or batch_size
        self.neighbors = neighbors
        self._loader_options = loader_options
        self.streams = streams
        self.n_images = len(unlabeled)
        self.n_labeled = None if labeled is None else len(labeled)
        where = torch.device("cpu") if streams else device
        self._cutter = _Cutter(unlabeled, labeled, where)
        n = self.n_images // world.size
        self.steps_per_epoch = max(1, min(-(-n * world.size // batch_size), n // 2))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from a step on, both counted from 0."""
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
            yield Batch(*(None if part is None else self._send(part) for part in batch))  # type: ignore[arg-type]

    def moments(self) -> Moments | None:
        """Return mean and deviation, [F] each, of the embeddings of the images; None for images."""
        if self._cutter.n_views is None:
            return None
        thinning = -(-self.n_images // _SAMPLE)
        deviation, mean = torch.std_mean(self._cutter.images[::thinning, 0].double().cpu(), dim=0)
        least = _LEAST_DEVIATION * float(deviation.mean()) + _TINY
        return Moments(mean.numpy(), deviation.clamp_min(least).numpy())

    def _send(self, part: Tensor) -> Tensor:
        """Send a part of a batch to the device, without waiting if it is in pinned memory; images are scaled there."""
        part = part.to(self.device, non_blocking=True)
        return scale(part) if part.dtype in (torch.uint8, torch.float16) else part

    def _indices(self, epoch: int) -> list[Indices]:
        """Return this process's share of each batch of an epoch; all are sent to the images' device at once."""
        order = self._permutation(_UNLABELED_STREAM, epoch, self.n_images)
        labeled: Iterable[Tensor | None] = [None] * self.steps_per_epoch
        partners = labeled
        if self.n_labeled is not None:
            row = self._labeled_indices(epoch * self.steps_per_epoch)[:, self.world.rank :: self.world.size]
            labeled = self._cutter.positions(row)
        if self.neighbors is not None:
            generator = np.random.default_rng([self.seed, _PARTNER_STREAM, epoch])
            column = generator.integers(self.neighbors.shape[1], size=len(order))
            partners = self._share(self.neighbors[order, column])
        views = self._views(epoch)
        return [Indices(*of_step) for of_step in zip(self._share(order), labeled, partners, *views, strict=True)]

    def _views(self, epoch: int) -> list[Iterable[Tensor | None]]:
        """Draw the stored views that each step takes of its images, labelled images and partners."""
        none: list[Tensor | None] = [None] * self.steps_per_epoch
        if self._cutter.n_views is None:
            return [none, none, none]
        generator = np.random.default_rng([self.seed, _VIEW_STREAM, epoch])
        own, partners = generator.integers(self._cutter.n_views, size=(2, self.n_images))
        labeled: Iterable[Tensor | None] = none
        if self.n_labeled is not None:
            size = self.steps_per_epoch, self.labeled_batch_size
            drawn = generator.integers(self._cutter.n_views, size=size)[:, self.world.rank :: self.world.size]
            labeled = self._cutter.positions(drawn)
        return [self._share(own), labeled, self._share(partners)]

    def _share(self, order: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return this process's part of each step of an epoch that takes the images in `order`."""
        columns = order[: self.n_images // self.world.size * self.world.size].reshape(-1, self.world.size)
        return self._cutter.positions(columns[:, self.world.rank]).tensor_split(self.steps_per_epoch)

    def _labeled_indices(self, first_step: int) -> NDArray[np.int64]:
        """Return the labelled images of an epoch's steps, [n_steps, B], cut from an endless row of permutations."""
        assert self.n_labeled is not None
        n, size, n_steps = self.n_labeled, self.labeled_batch_size, self.steps_per_epoch
        first, last = first_step * size, (first_step + n_steps) * size
        rounds = range(first // n, (last - 1) // n + 1)
        row = np.concatenate([self._permutation(_LABELED_STREAM, r, n) for r in rounds])
        return row[first - rounds.start * n : last - rounds.start * n].reshape(n_steps, size)

    def _permutation(self, stream: int, number: int, n: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, stream, number]).permutation(n)


class _Cutter(Dataset[Batch]):
    """Cuts batches of uint8 images, or embeddings, where they lie: on the device, in host memory or in a mapped file.

    `n_views` is the number of embeddings of each image, its own included; None for images.
    """

    def __init__(self, unlabeled: Split, labeled: Split | None, device: torch.device) -> None:
        self.images = torch.from_numpy(unlabeled.inputs).to(device)
        self.thumbnails = None if unlabeled.embeddings is None else torch.from_numpy(unlabeled.images).to(device)
        self.n_views = None if unlabeled.embeddings is None else unlabeled.embeddings.shape[1]
        self.labeled_images = self.labels = None
        if labeled is not None:
            self.labeled_images = torch.from_numpy(labeled.inputs).to(device)
            self.labels = torch.from_numpy(labeled.labels).to(device)

    def __getitem__(self, indices: Indices) -> Batch:
        unlabeled, labeled, partners, views, labeled_views, partner_views = indices
        return Batch(
            _cut(self.images, unlabeled, None if views is None else torch.zeros_like(views)),
            None
            if labeled is None or self.labeled_images is None
            else _cut(self.labeled_images, labeled, labeled_views),
            None if labeled is None or self.labels is None else self.labels[labeled],
            None if partners is None else _cut(self.images, partners, partner_views),
            unlabeled,
            partners,
            None if views is None else _cut(self.images, unlabeled, views),
            None if self.thumbnails is None else self.thumbnails[unlabeled],
        )

    def positions(self, indices: NDArray[np.int64]) -> Tensor:
        """Send indices to the images' device."""
        return torch.from_numpy(np.ascontiguousarray(indices)).to(self.images.device)


def _cut(inputs: Tensor, positions: Tensor, views: Tensor | None) -> Tensor:
    """Return images [B, C, H, W], or of embeddings [N, 1 + V, F] those of the views, [B, F]."""
    return inputs[positions] if views is None else inputs[positions, views]


def _outlive_signals(worker: int) -> None:
    """Ignore signals: a worker ends with its parent, and a signal to the whole group must not end it earlier."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
