"""Classes of data and of a model, matched by name: data may lack classes, order them otherwise, or have others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.class_names import require_distinct
from aae_toolkit.data.split import UNLABELED, Split
from aae_toolkit.errors import AaeError

_LISTED = 12  # names in a message


@dataclass(frozen=True)
class ClassMatch:
    """Match of a data set's classes with a model's.

    Attributes:
        data: class names of the data, by its class index.
        indices: the model's class index of each, int64 [their number]; -1 if the model does not know it.
    """

    data: tuple[str, ...]
    indices: NDArray[np.int64]

    def relabel(self, split: Split) -> Split:
        """Return a split of the data with the model's class indices; images of unknown classes get -1, no label."""
        if not len(self.indices):
            return split
        labels = np.where(split.labels == UNLABELED, UNLABELED, self.indices[split.labels])
        return replace(split, labels=labels)

    def unknown(self, split: Split) -> dict[str, int]:
        """Count the images of a split of the data by classes that the model does not know."""
        counts = np.bincount(split.labels[split.labels != UNLABELED], minlength=len(self.data))
        return {self.data[i]: int(counts[i]) for i in np.flatnonzero(self.indices == UNLABELED) if counts[i]}


def match_classes(model: Sequence[str], data: Sequence[str]) -> ClassMatch:
    """Match class names; data without labels has none.

    Raises:
        AaeError: no class of the data is the model's, or one differs from it only in case or Unicode's form.
    """
    known = {name: index for index, name in enumerate(model)}
    indices = np.array([known.get(name, UNLABELED) for name in data], dtype=np.int64)
    if len(data) and (indices == UNLABELED).all():
        raise AaeError(
            f"the model's classes are {listed(model)}; the data's are {listed(data)}; give data with classes of the"
            " model"
        )
    if (indices == UNLABELED).any():
        require_distinct({*model, *data}, "the model with these data")
    return ClassMatch(tuple(data), indices)


def unknown_line(unknown: dict[str, int]) -> str:
    """Say which images were not scored; empty if there are none."""
    if not unknown:
        return ""
    names = listed([f"{name} ({n})" for name, n in unknown.items()])
    return f"not scored: {sum(unknown.values())} images of classes that the model does not know: {names}"


def listed(names: Sequence[str]) -> str:
    """List names, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
