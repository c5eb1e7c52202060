"""Two classifiers on the same images: a paired comparison of their accuracies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairedAccuracy:
    """Two classifiers on the same n labelled images, the second against the first.

    Attributes:
        n: images.
        lost: images that only the first has right, and
        gained: that only the second has.
        p_value: of exact McNemar's test that neither is better.
        drop_bound: the second's accuracy is lower by at most this fraction, at 95% confidence.
    """

    n: int
    lost: int
    gained: int
    p_value: float
    drop_bound: float


def compare_accuracy(right: NDArray[np.bool_], right_too: NDArray[np.bool_]) -> PairedAccuracy:
    """Compare two classifiers by which of the same images, bool [n], n > 0, each has right.

    The bound is the upper end for the share lost less the lower end for the share gained, each exact (Clopper-Pearson)
    at 97.5%, so that both hold together at 95% or more.
    """
    from scipy.stats import binomtest

    n, lost, gained = len(right), int((right & ~right_too).sum()), int((~right & right_too).sum())
    p_value = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    most_lost = binomtest(lost, n).proportion_ci(0.95).high
    least_gained = binomtest(gained, n).proportion_ci(0.95).low
    return PairedAccuracy(n, lost, gained, float(p_value), float(most_lost - least_gained))
