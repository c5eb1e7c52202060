"""First probabilities of the unlabelled samples: labels that spread to neighbours, and a smoothed logistic regression.

Spread labels follow the shape of the data and need few labels; the regression uses all features at once and gains more
from each further label. Averaged, they are better than either. Sources: label spreading, Zhou et al. 2004; smoothing
of a simple model's predictions over a graph, Huang et al. 2021 ("Combining Label Propagation and Simple Models").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.split import evenly

_ROUNDS = 60  # what still moves then is below 0.2% for rows, and changes few classes for images
_COMPONENTS = 1000  # most labelled samples that a kernel is taken with
_KERNEL_C = 10  # inverse strength of the kernel regression's penalty
_TAUGHT = 2**16  # most labelled samples that the regression learns from
_COLUMNS = 16  # categories that diffuse at once, which bounds the memory needed
_MANY = 64  # categories, above which single precision halves the memory needed

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Blending:
    """How spread labels and a regression are weighed.

    Attributes:
        spreading: share of a label that goes on to neighbours in each round.
        smoothing: share of a prediction that does.
        even: labels a class with which the regression counts as much as the spread labels.
        one_sided: weight of a link between two samples of which only one is a neighbour of the other.
        kernel: True for a regression with an RBF kernel, which has the width of the features' variance.
    """

    spreading: float
    smoothing: float
    even: float
    one_sided: float
    kernel: bool


ROWS = Blending(spreading=0.9, smoothing=0.8, even=2, one_sided=1.0, kernel=False)
IMAGES = Blending(spreading=0.99, smoothing=0.8, even=30, one_sided=0.05, kernel=True)


def blend(
    neighbors: NDArray[np.int64],
    unlabeled: Iterable[Floats],
    labeled: Floats,
    labels: NDArray[np.int64],
    n_categories: int,
    how: Blending = ROWS,
    class_weights: Floats | None = None,
) -> Floats:
    """Compute class probabilities of unlabelled samples, float32 [N, K].

    Args:
        neighbors: neighbours among all samples, int64 [N + L, k]: N unlabelled ones, then L labelled ones.
        unlabeled: features of the unlabelled samples, float32 [N, D], in parts, of which one is in memory at a time.
        labeled: features of the labelled samples that `taught` chooses, float32 [T, D].
        labels: classes of the labelled samples, int64 [L].
        n_categories: K, at least the number of classes.
        how: weights of the parts.
        class_weights: weight of a label of each class, float32 [K]; None: all 1.
    """
    from sklearn.exceptions import ConvergenceWarning

    n = len(neighbors) - len(labels)
    precision = np.float32 if n_categories > _MANY else np.float64
    links = _links(neighbors, how.one_sided).astype(precision)
    known = np.zeros((len(neighbors), n_categories), precision)
    known[np.arange(n, len(neighbors)), labels] = 1 if class_weights is None else class_weights[labels]
    spread = _normalized(_diffuse(links, known, how.spreading))
    targets = labels[taught(len(labels))]
    if len(np.unique(targets)) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is as good here
            regression = _regression(labeled, how, balanced=class_weights is not None).fit(labeled, targets)
        first = 0
        for part in unlabeled:
            known[first : first + len(part), regression.classes_] = regression.predict_proba(part)
            first += len(part)
        smooth = _normalized(_diffuse(links, known, how.smoothing))
        labels_per_class = len(labels) / len(np.unique(labels))
        weight = labels_per_class / (labels_per_class + how.even)
        weights = np.where(spread.any(axis=1, keepdims=True), weight, 1.0)
        spread *= 1 - weights
        smooth *= weights
        spread += smooth
    return spread[:n].astype(np.float32)


def taught(n: int) -> NDArray[np.int64]:
    """Choose, of n labelled samples, those that the regression learns from: evenly, at most 65536."""
    return evenly(n, _TAUGHT)


def _regression(labeled: Floats, how: Blending, *, balanced: bool) -> Any:
    """Build a logistic regression, with a kernel if asked, in which all classes may count alike."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    class_weight = "balanced" if balanced else None
    if not how.kernel:
        return LogisticRegression(class_weight=class_weight)
    width = max(float(labeled.var()) * labeled.shape[1], np.finfo(np.float32).tiny)
    kernel = Nystroem(gamma=1 / width, n_components=min(len(labeled), _COMPONENTS), random_state=0)
    return make_pipeline(kernel, LogisticRegression(C=_KERNEL_C, class_weight=class_weight))


def _links(neighbors: NDArray[np.int64], one_sided: float) -> Any:
    """Build the symmetric graph, normalized by the square roots of the degrees: D^-1/2 W D^-1/2, sparse [M, M].

    A link counts 1 + 1 where both samples are neighbours of each other, else `one_sided`.
    """
    from scipy.sparse import csr_array, diags_array

    n, k = neighbors.shape
    links = csr_array((np.ones(neighbors.size), neighbors.ravel(), np.arange(0, neighbors.size + 1, k)), shape=(n, n))
    links = links + links.T
    links.data[links.data <= 1] *= one_sided
    root = diags_array(1 / np.sqrt(links.sum(axis=1)))
    return root @ links @ root


def _diffuse(links: Any, first: NDArray[Any], share: float) -> NDArray[Any]:
    """Approach (1 - share) (I - share S)^-1 `first`, [M, K], for links S."""
    result = np.empty_like(first)
    for column in range(0, first.shape[1], _COLUMNS):
        columns = slice(column, column + _COLUMNS)
        values = first[:, columns]
        rest = (1 - share) * values
        for _ in range(_ROUNDS):
            values = links @ values
            values *= share
            values += rest
        result[:, columns] = values
    return result


def _normalized(values: NDArray[Any]) -> NDArray[Any]:
    """Divide rows [M, K] by their sum, in place; rows of zeros stay."""
    total = values.sum(axis=1, keepdims=True)
    return np.divide(values, total, out=values, where=total > 0)  # type: ignore[no-any-return]
