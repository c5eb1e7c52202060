"""Grids of images with a row per category, and whether the pictures of the categories are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.evaluation import Floats
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import SMALL, WIDEST, cell_size, new_figure, show_image, tile, tile_centres
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEVER = "never predicted"
_ALIKE = 0.1  # distance of pixels from their mean in units of that of images, below which pictures look alike
_N_MEASURED = 1000  # images
_MARGIN = 2.2  # inches for the names on the left
_TWO_LINES = 0.36  # inches of a row that has room for two lines of text


def rows_of_images(
    view: View, rows: Sequence[Iterable[NDArray[Any]]], n_columns: int, labels: Sequence[str]
) -> tuple[Figure, Any]:
    """Return a figure with a row of images per category, named by `labels`, and its axes."""
    width, height = cell_size(view.image_shape, len(rows), n_columns, WIDEST - _MARGIN)
    if height < _TWO_LINES:
        labels = [label.replace("\n", ", ") for label in labels]
    drawn = new_figure(max(6.5, n_columns * width + _MARGIN), max(2.5, len(rows) * height + 1.6))
    axes = drawn.subplots()
    show_image(axes, tile(rows, n_columns))
    pixels = view.image_shape
    axes.set_aspect((height / pixels[1]) / (width / pixels[2]))  # differs from 1 for extreme proportions only
    axes.set_yticks(tile_centres(len(rows), view.image_shape[1]), labels, fontsize=SMALL)
    axes.tick_params(length=0)
    return drawn, axes


def spread(view: View) -> float:
    """Return the mean distance of a pixel of the images from its mean, in [0, 1]."""
    images = view.images[:_N_MEASURED].astype(np.float32) / 255
    return float(np.abs(images - images.mean(axis=0)).mean())


def alike(view: View, what: str, pictures: Floats) -> str:
    """Say whether the pictures of the categories [k, ...] are alike; return nothing where they differ."""
    apart, usual = float(np.abs(pictures - pictures.mean(axis=0)).mean()), spread(view)
    if len(pictures) < 2 or apart >= _ALIKE * usual:
        return ""
    return (
        f"The {what} look alike: a pixel is {rough_percent(apart)} of its range from their mean, where it is"
        f" {rough_percent(usual)} from that of real images."
    )
