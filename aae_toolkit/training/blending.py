"""First probabilities of the unlabelled samples: labels that spread to neighbours, and a smoothed logistic regression.

Spread labels follow the shape of the data and need few labels; the regression uses all features at once and gains more
from each further label. Averaged, they are better than either. Sources: label spreading, Zhou et al. 2004; smoothing
of a simple model's predictions over a graph, Huang et al. 2021 ("Combining Label Propagation and Simple Models").
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPREADING = 0.9  # share of a label that goes on to neighbours in each round
_SMOOTHING = 0.8  # share of a prediction that does
_ROUNDS = 60  # what still moves then is below 0.2%
_EVEN = 2  # labels a class with which the regression counts as much as the spread labels

Floats = NDArray[np.float32]


def blend(neighbors: NDArray[np.int64], features: Floats, labels: NDArray[np.int64], n_categories: int) -> Floats:
    """Compute class probabilities of unlabelled samples, float32 [N, K].

    Args:
        neighbors: neighbours among all samples, int64 [N + L, k]: N unlabelled ones, then L labelled ones.
        features: features of all samples, float32 [N + L, D], standardized.
        labels: classes of the labelled samples, int64 [L].
        n_categories: K, at least the number of classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    n = len(neighbors) - len(labels)
    links = _links(neighbors)
    known = np.zeros((len(neighbors), n_categories))
    known[np.arange(n, len(neighbors)), labels] = 1
    spread = _normalized(_diffuse(links, known, _SPREADING))
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is as good here
            regression = LogisticRegression().fit(features[n:], labels)
        known[:n, classes] = regression.predict_proba(features[:n])
        smooth = _normalized(_diffuse(links, known, _SMOOTHING))
        weight = counts.mean() / (counts.mean() + _EVEN)
        reached = spread.any(axis=1, keepdims=True)
        spread = np.where(reached, weight * smooth + (1 - weight) * spread, smooth)
    return spread[:n].astype(np.float32)


def _links(neighbors: NDArray[np.int64]) -> Any:
    """Build the symmetric graph, normalized by the square roots of the degrees: D^-1/2 W D^-1/2, sparse [M, M]."""
    from scipy.sparse import csr_array, diags_array

    n, k = neighbors.shape
    links = csr_array((np.ones(neighbors.size), neighbors.ravel(), np.arange(0, neighbors.size + 1, k)), shape=(n, n))
    links = links + links.T
    root = diags_array(1 / np.sqrt(links.sum(axis=1)))
    return root @ links @ root


def _diffuse(links: Any, first: NDArray[Any], share: float) -> NDArray[Any]:
    """Approach (1 - share) (I - share S)^-1 `first`, [M, K], for links S."""
    values = first
    for _ in range(_ROUNDS):
        values = share * (links @ values) + (1 - share) * first
    return values


def _normalized(values: NDArray[Any]) -> NDArray[Any]:
    """Divide rows [M, K] by their sum; rows of zeros stay."""
    total = values.sum(axis=1, keepdims=True)
    normalized: NDArray[Any] = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    return normalized
