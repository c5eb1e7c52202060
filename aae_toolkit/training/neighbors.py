"""Neighbourhoods of the training images, found before training, and labels spread along them.

Sources: histograms of oriented gradients, Dalal & Triggs 2005; of colours, Swain & Ballard 1991; their square roots,
Arandjelovic & Zisserman 2012; label spreading, Zhou et al. 2004.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.config import Likeness
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import evenly
from aae_toolkit.distributed.collectives import gather
from aae_toolkit.distributed.world import ALONE, World
from aae_toolkit.models.networks import scale
from aae_toolkit.training.inverted_file import InvertedFile, is_installed, n_sampled
from aae_toolkit.training.standardizing import Moments, moments_of

_SIDES = {"pixels": 14}  # shorter side in pixels after averaging down
_SIDE = 28  # of all other descriptions
_ORIENTATIONS = 8
_CELLS = 7  # histograms along the shorter side
_SHADES, _CHANNELS = 4, 3  # of each channel in a histogram of colours, and most channels
_COLORFUL: Likeness = "gradients-and-colours"
CANDIDATES = 2**16  # most images that are all compared with each other
_ROWS = 1000  # images compared at once: their distances to 65536 candidates take 262 MB
_SPREADING = 0.99  # share of a label that goes on to neighbours in each round
_SETTLED = 0.001  # spreading ends once less than this share of each label still moves
_ROUNDS = 1000  # most rounds


class Search:
    """Search for the images most like others among a set of images, which is described once.

    Beyond 65536 images an inverted file of them all is searched where faiss is installed, else an evenly thinned set;
    the time is then linear in N.
    """

    @torch.no_grad()
    def __init__(
        self,
        images: NDArray[Any],
        device: torch.device,
        *,
        likeness: Likeness = "gradients",
        world: World = ALONE,
    ) -> None:
        """Describe the images.

        Args:
            images: uint8 [N, C, H, W], or embeddings [N, F], which are compared by their angles.
            device: device that computes features and distances.
            likeness: features between which Euclidean distances are taken. `gradients` follow the strokes and edges of
                a picture, `pixels` its colour and brightness too. Both are averaged over squares, which matches edges
                that are a pixel apart. `gradients-and-colours` adds how much of a picture each colour covers, wherever
                it is. `features` are standardized values, `directions` those scaled to length 1.
            world: the processes, each of which searches for its share.
        """
        self.images, self.device, self.likeness, self.world = images, device, likeness, world
        are_features = likeness in ("features", "directions") and images.ndim > 2
        self.moments = moments_of([images]) if are_features else None
        n = len(images)
        self._found: _Candidates | InvertedFile
        if n <= CANDIDATES or is_thinned(n):
            numbers = evenly(n, CANDIDATES)
            self._found = _Candidates(self._describe(numbers), numbers)
        else:
            sample = self._describe(evenly(n, n_sampled(n)))
            self._found = InvertedFile(sample, describe_in_parts(images, device, likeness, self.moments), n)

    @torch.no_grad()
    def nearest(self, n_neighbors: int, *, of: NDArray[Any] | None = None) -> NDArray[np.int64]:
        """Find the images most like each one; return their indices, int64 [M, n_neighbors], the nearest first.

        Args:
            n_neighbors: number of neighbours of each image, below N.
            of: uint8 [M, C, H, W], other images whose neighbours are wanted; None: neighbours of the images themselves,
                without the image itself.
        """
        seekers, world = self.images if of is None else of, self.world
        own = np.arange(world.rank, len(seekers), world.size)
        share = np.empty((len(own), n_neighbors), dtype=np.int64)
        for first in range(0, len(own), _ROWS):
            rows = own[first : first + _ROWS]
            features = _described(seekers[rows], self.device, self.likeness, self.moments)
            share[first : first + _ROWS] = self._found.search(features, n_neighbors, rows if of is None else None)
        neighbors = np.empty((len(seekers), n_neighbors), dtype=np.int64)
        for rank, part in enumerate(gather(share)):
            neighbors[rank :: world.size] = part
        return neighbors

    def _describe(self, at: NDArray[np.int64]) -> Tensor:
        return describe_images(self.images, self.device, self.likeness, self.moments, at=at)


def nearest_neighbors(
    images: NDArray[Any],
    n_neighbors: int,
    device: torch.device,
    *,
    of: NDArray[Any] | None = None,
    likeness: Likeness = "gradients",
    world: World = ALONE,
) -> NDArray[np.int64]:
    """Search once; the arguments are those of `Search` and `Search.nearest`."""
    return Search(images, device, likeness=likeness, world=world).nearest(n_neighbors, of=of)


def is_thinned(n: int) -> bool:
    """Tell whether the neighbours of n images are sought among a part of them only."""
    return n > CANDIDATES and not is_installed()


class _Candidates:
    """Features that are all compared with each seeker's."""

    def __init__(self, features: Tensor, numbers: NDArray[np.int64]) -> None:
        """Take features [N, D], and the numbers of their images, int64 [N]."""
        self.features, self.half_squares = features, features.square().sum(dim=1) / 2
        self.numbers = torch.from_numpy(numbers).to(features.device)

    def search(self, features: Tensor, n_neighbors: int, own: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the numbers of the nearest features, as `InvertedFile.search` does."""
        # |a - b|^2 / 2 - |a|^2 / 2; the last is equal along a row
        distances = torch.addmm(self.half_squares, features, self.features.T, alpha=-1)
        if own is not None:
            distances[self.numbers == torch.from_numpy(own).to(features.device).unsqueeze(1)] = torch.inf
        nearest = distances.topk(n_neighbors, largest=False, sorted=True).indices
        return self.numbers[nearest].cpu().numpy()


def spread_labels(
    neighbors: NDArray[np.int64],
    labeled_neighbors: NDArray[np.int64],
    labels: NDArray[np.int64],
    class_weights: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Spread labels along neighbourhoods; return the class of each unlabelled image, int64 [N], -1 where none arrived.

    Args:
        neighbors: neighbours of the unlabelled images among themselves, int64 [N, k].
        labeled_neighbors: neighbours of the labelled images among the unlabelled ones, int64 [L, k].
        labels: classes of the labelled images, int64 [L].
        class_weights: weight of a label of each class, [K]; None: all 1.
    """
    from scipy.sparse import csr_array
    from sklearn.semi_supervised import LabelSpreading

    rows = np.concatenate([neighbors, labeled_neighbors])
    n, k = rows.shape
    links = csr_array((np.ones(rows.size, np.float32), rows.ravel(), np.arange(0, rows.size + 1, k)), shape=(n, n))
    known = np.concatenate([np.full(len(neighbors), UNLABELED), labels])
    model = LabelSpreading(lambda *_: links + links.T, alpha=_SPREADING, max_iter=_ROUNDS, tol=_SETTLED * len(labels))
    model.fit(np.zeros((n, 1)), known)
    spread, classes = model.label_distributions_, model.transduction_
    if class_weights is not None:  # spreading is linear: a label's weight may as well follow
        classes = model.classes_[(spread * class_weights[model.classes_]).argmax(axis=1)]
    found: NDArray[np.int64] = np.where(spread.any(axis=1), classes, UNLABELED)[: len(neighbors)]
    return found


def describe_images(
    images: NDArray[Any],
    device: torch.device,
    likeness: Likeness,
    moments: Moments | None = None,
    *,
    at: NDArray[np.int64] | None = None,
) -> Tensor:
    """Compute the features of images [N, C, H, W] or embeddings [N, F], float32 [N, D], or of those `at` some indices.

    `features` and `directions` need the moments of the images.
    """
    return torch.cat(list(describe_in_parts(images, device, likeness, moments, at=at)))


def describe_in_parts(
    images: NDArray[Any],
    device: torch.device,
    likeness: Likeness,
    moments: Moments | None = None,
    *,
    at: NDArray[np.int64] | None = None,
) -> Iterator[Tensor]:
    """Yield the same features a thousand images at a time, which alone are read into memory."""
    for first in range(0, len(images) if at is None else len(at), _ROWS):
        part = slice(first, first + _ROWS)
        yield _described(images[part if at is None else at[part]], device, likeness, moments)


def _described(
    images: NDArray[Any], device: torch.device, likeness: Likeness, moments: Moments | None = None
) -> Tensor:
    """Compute the features between which distances are taken, float32 [N, D]."""
    if images.ndim == 2:
        return F.normalize(torch.from_numpy(images).to(device).float())
    if moments:
        features = torch.from_numpy(moments.standardize(images)).to(device)
        return features if likeness == "features" else F.normalize(features, dim=1)
    window = max(1, min(images.shape[-2:]) // _SIDES.get(likeness, _SIDE))
    pixels = F.avg_pool2d(scale(torch.from_numpy(images).to(device)), window, ceil_mode=True)
    if likeness == "pixels":
        return pixels.flatten(1)
    return torch.cat([_gradients(pixels), _colors(pixels)], dim=1) if likeness == _COLORFUL else _gradients(pixels)


def _gradients(pixels: Tensor) -> Tensor:
    """Compute roots of histograms of oriented gradients of [N, C, H, W] over overlapping cells; each row has length 1.

    An orientation between two bins counts for both. Histograms of the channels are added up.
    """
    n, channels, height, width = pixels.shape
    kernels = pixels.new_tensor([[0, 0, 0], [-1, 0, 1], [0, 0, 0]])
    kernels = torch.stack([kernels, kernels.T]).unsqueeze(1)
    framed = F.pad(
        pixels.view(-1, 1, height, width), (1, 1, 1, 1), mode="replicate"
    )  # the border of the picture is no edge
    x, y = F.conv2d(framed, kernels).unbind(dim=1)
    lengths = torch.hypot(x, y)
    bins = torch.atan2(y, x) / (2 * torch.pi) * _ORIENTATIONS
    histograms = torch.stack(
        [
            lengths * (1 - ((bins - bin_ + _ORIENTATIONS / 2) % _ORIENTATIONS - _ORIENTATIONS / 2).abs()).clamp_min(0)
            for bin_ in range(_ORIENTATIONS)
        ],
        dim=1,
    )
    step = max(1, min(height, width) // _CELLS)
    overlap = max(1, step // 4)
    cells = F.avg_pool2d(histograms, step + 2 * overlap, step, padding=overlap)
    summed = cells.view(n, channels, -1).sum(dim=1)
    return F.normalize(summed.sqrt(), dim=1)


def _colors(pixels: Tensor) -> Tensor:
    """Compute roots of the share of pixels in each of 4^C colours, [N, 4^C]; each row has length 1.

    Of more than three channels the first three count: 4^C would be many.
    """
    shades = (pixels[:, :_CHANNELS] * _SHADES).long().clamp_(0, _SHADES - 1).flatten(2)  # [N, C, H * W]
    places = _SHADES ** torch.arange(shades.shape[1], device=pixels.device)
    colors = (shades * places.unsqueeze(1)).sum(dim=1)  # [N, H * W]
    counts = pixels.new_zeros(len(pixels), _SHADES ** len(places))
    counts.scatter_add_(1, colors, torch.ones_like(colors, dtype=counts.dtype))
    return (counts / colors.shape[1]).sqrt()
