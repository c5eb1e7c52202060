"""Sample images of a page, for visitors who have no image at hand. This module imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.models.classes import match_classes

_MOST = 16
_MOST_BYTES = 2_000_000  # of pixels: the page stays small


def sample_images(export: ExportDirectory, data: DataDirectory) -> Split:
    """Choose up to 16 validation images, in turn from each class; training images would flatter the model.

    Args:
        export: the opened export.
        data: data directory with images of the model's shape.

    Returns:
        The images, with the model's class indices; -1 where the class is not known.

    Raises:
        AaeError: the images have another shape than the model's or none of its classes, or there are none.
    """
    export.description.require_image_shape(data.image_shape)
    match = match_classes(export.description.class_names, data.class_names)
    split = data.load("validation")
    if not len(split):
        raise AaeError(f"{data.path} has no validation images to show on a page; give data that have some")
    n = max(1, min(_MOST, _MOST_BYTES // split.images[0].size))
    chosen = _in_turn(split.labels)[:n]
    return match.relabel(Split(split.images[chosen], split.labels[chosen]))


def _in_turn(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of images in which each class has its first image before any has its second."""
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[order] = np.arange(len(labels)) - np.repeat(starts, sizes)
    in_turn: NDArray[np.int64] = np.lexsort((labels, turn))
    return in_turn
