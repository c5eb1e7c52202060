"""First categories of samples without labels: a spectral clustering.

Sources: von Luxburg 2007 ("A Tutorial on Spectral Clustering"); links by local scales, Zelnik-Manor & Perona 2004;
categories read from the eigenvectors by a pivoted QR decomposition, which draws nothing at random, Damle, Minden & Ying
2019.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINKED = 40  # neighbours that a sample is linked with
_SCALE = 20  # the distance to this neighbour is a sample's unit of distance


def cluster(features: NDArray[Any], n_categories: int) -> NDArray[np.int64]:
    """Divide samples so that little weight of links between neighbours is cut; return the category of each, int64 [N].

    Args:
        features: features between which Euclidean distances are taken, float32 [N, F].
        n_categories: K.
    """
    from scipy.sparse import csr_array
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import NearestNeighbors

    n = len(features)
    if n_categories >= n:
        return np.arange(n)
    k = min(_LINKED, n - 1)
    distances, neighbors = NearestNeighbors(n_neighbors=k).fit(features).kneighbors()
    units = distances[:, min(_SCALE, k) - 1].clip(np.finfo(np.float32).tiny)
    weights = np.exp(-np.square(distances) / (units[:, np.newaxis] * units[neighbors]))
    starts = np.arange(0, neighbors.size + 1, k, dtype=np.int32)  # scikit-learn takes no longer integers
    links = csr_array((weights.ravel(), neighbors.ravel().astype(np.int32), starts), shape=(n, n))
    spectral = SpectralClustering(n_categories, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parts without a link: categories of their own, if large
        categories: NDArray[np.int64] = spectral.fit_predict(links + links.T).astype(np.int64)
    return categories
