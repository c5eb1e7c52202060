"""Inverted file of features, by faiss: finds neighbours among all images without comparing all pairs.

Source: Johnson et al. 2019 ("Billion-scale similarity search with GPUs").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PROBED = 16  # lists that a search reads: 99.7% of the ten nearest of 100000 images are in them
_ROUNDS = 10  # of k-means
_SAMPLED = 64  # most features a list that k-means sees


def is_installed() -> bool:
    """Tell whether faiss is there."""
    return find_spec("faiss") is not None


def n_lists(n: int) -> int:
    """Return the number of lists for n features."""
    return round(4 * math.sqrt(n))


def n_sampled(n: int) -> int:
    """Return the number of features from which the lists of n features are learned."""
    return min(n, _SAMPLED * n_lists(n))


class InvertedFile:
    """Lists of features around centres of k-means, kept in 16 bits; a search reads the lists nearest to it."""

    def __init__(self, sample: Tensor, parts: Iterable[Tensor], n: int) -> None:
        """Learn the lists from a sample, and fill them.

        Args:
            sample: some of the features, float32 [S, D].
            parts: all features in parts, of which one is in memory at a time, float32 [B, D] each.
            n: number of all features.
        """
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        self.index = faiss.index_factory(sample.shape[1], f"IVF{n_lists(n)},SQfp16")
        self.index.nprobe = min(_PROBED, self.index.nlist)
        self.index.cp.niter = _ROUNDS
        self.index.train(sample.cpu().numpy())
        for part in parts:
            self.index.add(part.cpu().numpy())

    def search(self, features: Tensor, n_neighbors: int, own: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the numbers of the nearest features, int64 [B, n_neighbors], the nearest first.

        Args:
            features: features whose neighbours are wanted, float32 [B, D].
            n_neighbors: number of neighbours of each.
            own: their own numbers, int64 [B], which are no neighbours; None where they are not in the file.
        """
        import faiss

        wanted = n_neighbors if own is None else n_neighbors + 1
        rows = features.cpu().numpy()
        found: NDArray[np.int64] = self.index.search(rows, wanted)[1]
        short = (found < 0).any(axis=1)  # the lists read held too few
        if short.any():
            every_list = faiss.SearchParametersIVF(nprobe=self.index.nlist)
            found[short] = self.index.search(rows[short], wanted, params=every_list)[1]
        if own is None:
            return found
        left_out = found == own[:, np.newaxis]
        left_out[~left_out.any(axis=1), -1] = True  # copies of the image came before it
        kept: NDArray[np.int64] = found[~left_out].reshape(len(found), n_neighbors)
        return kept
