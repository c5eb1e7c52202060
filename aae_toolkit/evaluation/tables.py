"""Tables of counts by true class and prediction, the scores they give, and the category -> class map.

Source: the seed document, section 7.2 (majority accuracy).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.split import UNLABELED

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def contingency_table(labels: Integers, categories: Integers, n_classes: int, n_categories: int) -> Integers:
    """Count images by true class and predicted category, int64 [n_classes, n_categories]."""
    table = np.zeros((n_classes, n_categories), dtype=np.int64)
    np.add.at(table, (labels, categories), 1)
    return table


def majority_map(table: Integers) -> Integers:
    """Find the most frequent true class of each category, int64 [K]; the seed's matching."""
    classes: Integers = table.argmax(axis=0)
    return classes


def fit_category_map(y: Floats, labels: Integers, n_classes: int) -> tuple[int, ...]:
    """Map every category to its most frequent true class, or to that of most probability if it is never predicted.

    Args:
        y: category probabilities [N, K].
        labels: true classes int64 [N]; images with -1 are left out.
        n_classes: number of classes.

    Returns:
        The class of each category, K numbers.
    """
    known = labels != UNLABELED
    y, labels = y[known], labels[known]
    table = contingency_table(labels, y.argmax(axis=1), n_classes, y.shape[1])
    mass = np.eye(n_classes, dtype=np.float32)[labels].T @ y  # [n_classes, K]
    classes = np.where(table.sum(axis=0) > 0, majority_map(table), mass.argmax(axis=0))
    return tuple(int(c) for c in classes)


def majority_accuracy(table: Integers) -> float:
    """Compute the share of images whose true class is the most frequent one of their category."""
    return float(table.max(axis=0).sum() / table.sum())


def balanced_accuracy(confusion: Integers) -> float:
    """Compute the mean, over the classes that have images, of the share of their images that are labelled right.

    Args:
        confusion: number of images by true class and label given, int64 [n_classes, n_classes].
    """
    n = confusion.sum(axis=1)
    return float((confusion.diagonal()[n > 0] / n[n > 0]).mean())


def macro_f1(confusion: Integers) -> float:
    """Compute the mean F1 of the classes that have images or were given as a label; `confusion` as above."""
    n = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * confusion.diagonal()[n > 0] / n[n > 0]).mean())
