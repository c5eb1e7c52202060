"""What the training images say of one another before training: who is like whom, and which label spreads to whom.

Sources: histograms of oriented gradients, Dalal & Triggs 2005; their square roots, Arandjelovic & Zisserman 2012; label
spreading, Zhou et al. 2004.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.config import Likeness
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.distributed.collectives import gather
from aae_toolkit.distributed.world import ALONE, World
from aae_toolkit.models.networks import scale

_SIDES = {"gradients": 28, "pixels": 14}  # pixels to which a picture is averaged down before, along its shorter side
_ORIENTATIONS = 8
_CELLS = 7  # along the shorter side
_CANDIDATES = 2**16  # images that neighbours are sought among; of more, as many evenly spaced ones
_ROWS = 1000  # images whose distances are taken at once: 262 MB to 65536 candidates
_SPREADING = 0.99  # of a label that goes on to neighbours in each round,
_SETTLED = 0.001  # until so little of each still moves, which is before
_ROUNDS = 1000


@torch.no_grad()
def nearest_neighbors(
    images: NDArray[np.uint8],
    n_neighbors: int,
    device: torch.device,
    *,
    of: NDArray[np.uint8] | None = None,
    likeness: Likeness = "gradients",
    world: World = ALONE,
) -> NDArray[np.int64]:
    """Indices int64 [M, n_neighbors] of the images most like each one, the nearest first.

    The time is linear in N beyond 65536 images.

    Args:
        images: uint8 [N, C, H, W], N above `n_neighbors`.
        n_neighbors: how many.
        device: where distances are taken.
        of: uint8 [M, C, H, W], other images whose neighbours are sought; None: the images' own, itself left out.
        likeness: the distance is Euclidean, between `gradients`, which follow the strokes and edges of a picture, or
            between `pixels`, which know colour and brightness too. Both are averaged over squares, so that edges a
            pixel apart still meet.
        world: the processes, each of which searches for its share.
    """
    candidates = np.linspace(0, len(images) - 1, min(len(images), _CANDIDATES)).astype(np.int64)
    sought = _in_pieces(images[candidates], device, likeness)
    half_squares = sought.square().sum(dim=1) / 2
    at = torch.from_numpy(candidates).to(device)
    seekers = images if of is None else of
    own = np.arange(world.rank, len(seekers), world.size)
    share = np.empty((len(own), n_neighbors), dtype=np.int64)
    for first in range(0, len(own), _ROWS):
        rows = own[first : first + _ROWS]
        # |a - b|^2 / 2 less |a|^2 / 2, which is the same along a row
        distances = torch.addmm(half_squares, _described(seekers[rows], device, likeness), sought.T, alpha=-1)
        if of is None:
            distances[at == torch.from_numpy(rows).to(device).unsqueeze(1)] = torch.inf
        nearest = distances.topk(n_neighbors, largest=False, sorted=True).indices
        share[first : first + _ROWS] = at[nearest].cpu().numpy()
    found = np.empty((len(seekers), n_neighbors), dtype=np.int64)
    for rank, part in enumerate(gather(share)):
        found[rank :: world.size] = part
    return found


def spread_labels(
    neighbors: NDArray[np.int64], labeled_neighbors: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The class of each unlabelled image, int64 [N], once labels have flowed along neighbourhoods; -1 where none came.

    Args:
        neighbors: int64 [N, k], of the unlabelled images, among themselves.
        labeled_neighbors: int64 [L, k], of the labelled images, among the unlabelled ones.
        labels: int64 [L], their classes.
    """
    from scipy.sparse import csr_array
    from sklearn.semi_supervised import LabelSpreading

    rows = np.concatenate([neighbors, labeled_neighbors])
    n, k = rows.shape
    links = csr_array((np.ones(rows.size, np.float32), rows.ravel(), np.arange(0, rows.size + 1, k)), shape=(n, n))
    known = np.concatenate([np.full(len(neighbors), UNLABELED), labels])
    model = LabelSpreading(lambda *_: links + links.T, alpha=_SPREADING, max_iter=_ROUNDS, tol=_SETTLED * len(labels))
    model.fit(np.zeros((n, 1)), known)
    reached = model.label_distributions_.any(axis=1)
    found: NDArray[np.int64] = np.where(reached, model.transduction_, UNLABELED)[: len(neighbors)]
    return found


def _in_pieces(images: NDArray[np.uint8], device: torch.device, likeness: Likeness) -> Tensor:
    """What describes many images, [N, D], without the intermediate results of all at once."""
    return torch.cat(
        [_described(images[first : first + _ROWS], device, likeness) for first in range(0, len(images), _ROWS)]
    )


def _described(images: NDArray[np.uint8], device: torch.device, likeness: Likeness) -> Tensor:
    """What distances are taken between, float32 [N, D]."""
    window = max(1, min(images.shape[-2:]) // _SIDES[likeness])
    pixels = F.avg_pool2d(scale(torch.from_numpy(images).to(device)), window, ceil_mode=True)
    return (pixels if likeness == "pixels" else _gradients(pixels)).flatten(1)


def _gradients(pixels: Tensor) -> Tensor:
    """Square roots of histograms of oriented gradients of [N, C, H, W], over overlapping cells; each row of length 1.

    An orientation between two bins counts for both. What the channels show is added up.
    """
    n, channels, height, width = pixels.shape
    kernels = pixels.new_tensor([[0, 0, 0], [-1, 0, 1], [0, 0, 0]])
    kernels = torch.stack([kernels, kernels.T]).unsqueeze(1)
    framed = F.pad(pixels.view(-1, 1, height, width), (1, 1, 1, 1), mode="replicate")  # no edge where the picture ends
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
