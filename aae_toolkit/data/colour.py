"""Check of whether a conversion to grey removes what tells classes apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.split import UNLABELED

_FEWEST = 5  # images of a class from which a spread can be told
_CLEAR, _SLIGHT = 16.0, 8.0  # differences in 0-255 that are easily seen, and hardly


def colour_alone(
    colours: NDArray[np.float32], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Return pairs of classes that differ in their mean colour, but not in their mean brightness.

    Medians are compared with median absolute deviations, so that a few odd images change nothing: two classes differ in
    red or blue against grey if the distance of their medians is above twice the sum of their deviations.

    Args:
        colours: float32 [N, 3], mean red, green and blue of each image in 0-255.
        labels: int64 [N], -1 where unknown.
        class_names: names by label.
    """
    counts = np.bincount(labels[labels != UNLABELED], minlength=len(class_names))
    classes = np.flatnonzero(counts >= _FEWEST)
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    measured = np.stack([grey, colours[:, 0] - grey, colours[:, 2] - grey], axis=1)
    medians, deviations = np.empty((2, len(classes), 3))
    for i, label in enumerate(classes):
        own = measured[labels == label]
        medians[i] = np.median(own, axis=0)
        deviations[i] = np.median(np.abs(own - medians[i]), axis=0)
    pairs = []
    for i in range(len(classes)):
        distance = np.abs(medians[i + 1 :] - medians[i])
        spread = deviations[i + 1 :] + deviations[i]
        coloured = (distance[:, 1:] > np.maximum(_CLEAR, 2 * spread[:, 1:])).any(axis=1)
        alike = distance[:, 0] <= spread[:, 0] + _SLIGHT
        found = np.flatnonzero(coloured & alike) + i + 1
        pairs += [(class_names[classes[i]], class_names[classes[j]]) for j in found]
    return pairs
