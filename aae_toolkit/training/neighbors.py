"""The nearest neighbours of every training image, found once, before training: pairs that mostly share their class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.distributed import gather
from aae_toolkit.launch import ALONE, World
from aae_toolkit.models.networks import scale

_SIDE = 14  # pixels to which a picture is averaged down before distances are taken, at least
_CANDIDATES = 2**16  # images that neighbours are sought among; of more, as many evenly spaced ones
_ROWS = 1000  # images whose distances are taken at once: 262 MB to 65536 candidates


@torch.no_grad()
def nearest_neighbors(
    images: NDArray[np.uint8], n_neighbors: int, device: torch.device, world: World = ALONE
) -> NDArray[np.int64]:
    """Indices int64 [N, n_neighbors] of the images most like each one, itself left out, the nearest first.

    Likeness is Euclidean distance between pixels, averaged over squares so that strokes a pixel apart still meet. The
    time is linear in N beyond 65536 images.

    Args:
        images: uint8 [N, C, H, W], N above `n_neighbors`.
        n_neighbors: how many.
        device: where distances are taken.
        world: the processes, each of which searches for its share of the images.
    """
    candidates = np.linspace(0, len(images) - 1, min(len(images), _CANDIDATES)).astype(np.int64)
    sought = _averaged(images[candidates], device)
    half_squares = sought.square().sum(dim=1) / 2
    at = torch.from_numpy(candidates).to(device)
    own = np.arange(world.rank, len(images), world.size)
    share = np.empty((len(own), n_neighbors), dtype=np.int64)
    for first in range(0, len(own), _ROWS):
        rows = own[first : first + _ROWS]
        # |a - b|^2 / 2 less |a|^2 / 2, which is the same along a row
        distances = torch.addmm(half_squares, _averaged(images[rows], device), sought.T, alpha=-1)
        distances[at == torch.from_numpy(rows).to(device).unsqueeze(1)] = torch.inf
        nearest = distances.topk(n_neighbors, largest=False, sorted=True).indices
        share[first : first + _ROWS] = at[nearest].cpu().numpy()
    found = np.empty((len(images), n_neighbors), dtype=np.int64)
    for rank, part in enumerate(gather(share)):
        found[rank :: world.size] = part
    return found


def _averaged(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Pixels float32 [N, D], averaged over squares as long as the shorter side keeps `_SIDE`."""
    window = max(1, min(images.shape[-2:]) // _SIDE)
    return F.avg_pool2d(scale(torch.from_numpy(images).to(device)), window, ceil_mode=True).flatten(1)
