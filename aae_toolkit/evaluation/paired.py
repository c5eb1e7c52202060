"""Paired comparison of the accuracies of two classifiers on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairedAccuracy:
    """Comparison of a second classifier with a first on the same labelled images.

    Attributes:
        n: number of images.
        lost: images that only the first classifies correctly.
        gained: images that only the second classifies correctly.
        p_value: p-value of McNemar's exact test of equal accuracy.
        drop_bound: upper bound on the loss of accuracy, a fraction, at 95% confidence.
    """

    n: int
    lost: int
    gained: int
    p_value: float
    drop_bound: float


def compare_accuracy(right: NDArray[np.bool_], right_too: NDArray[np.bool_]) -> PairedAccuracy:
    """Compare two classifiers on the same images.

    The bound on the loss is the upper end of the interval of the fraction lost minus the lower end of that of the
    fraction gained. Each end is exact (Clopper-Pearson) at 97.5%, so both hold together at 95% or more.

    Args:
        right: images that the first classifies correctly, bool [n], n > 0.
        right_too: images that the second classifies correctly, bool [n].
    """
    from scipy.stats import binomtest

    n, lost, gained = len(right), int((right & ~right_too).sum()), int((~right & right_too).sum())
    p_value = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    most_lost = binomtest(lost, n).proportion_ci(0.95).high
    least_gained = binomtest(gained, n).proportion_ci(0.95).low
    return PairedAccuracy(n, lost, gained, float(p_value), float(most_lost - least_gained))
