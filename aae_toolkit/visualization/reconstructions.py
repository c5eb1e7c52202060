"""Picture of reconstructions: images and their reconstructions from the codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aae_toolkit.evaluation import Integers
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, SMALL, WIDEST, cell_size, new_figure, note, show_image
from aae_toolkit.visualization.names import NARROW, shorten
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0
_N_EXAMPLES = 10
_N_MEASURED = 1000
_MARGIN = 0.8  # inches for the names on the left
_POOR = 0.8  # error in units of the mean image's, above which the decoder has learned little


def examples(view: View, n: int = _N_EXAMPLES) -> Integers:
    """Return indices of up to `n` random images, taking each class, or category, in turn."""
    order = np.random.default_rng(_SEED).permutation(len(view.images))
    groups = (view.labels if view.known.any() else view.categories)[order]
    turn = np.empty(len(order), dtype=np.int64)  # number of images of the same group before each image
    for group in np.unique(groups):
        turn[groups == group] = np.arange((groups == group).sum())
    chosen: Integers = order[np.lexsort((groups, turn))][:n]
    return chosen


def rebuilt(view: View) -> Figure:
    """Draw images, one of each class first, above their reconstructions."""
    chosen = examples(view)
    pictures = view.decode(view.y[chosen], view.z[chosen])
    width, height = (1.4 * side for side in cell_size(view.image_shape, 2, len(chosen), (WIDEST - _MARGIN) / 1.4))
    drawn = new_figure(max(5.0, max(width, 1.02) * len(chosen) + _MARGIN), 2 * height + 1.6)
    grid = drawn.subplots(2, len(chosen), squeeze=False)
    for column, index in enumerate(chosen):
        show_image(grid[0, column], view.images[index])
        show_image(grid[1, column], pictures[column])
        if view.known[index]:
            grid[0, column].set_title(shorten(view.names.texts[view.labels[index]], NARROW), fontsize=SMALL)
        color = CONTRAST_COLOR if view.wrong[index] else "black"
        grid[1, column].set_xlabel(view.category_name(view.categories[index], narrow=True), fontsize=SMALL, color=color)
    for row, text in enumerate(("input", "rebuilt")):
        grid[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=SMALL)
    measured = slice(0, _N_MEASURED)
    inputs = view.images[measured].astype(np.float32) / 255
    error = float(np.abs(view.decode(view.y[measured], view.z[measured]) - inputs).mean())
    plain = float(np.abs(inputs.mean(axis=0) - inputs).mean())
    verdict = "Hardly better than the mean image of all: the decoder rebuilds little. " if error > _POOR * plain else ""
    above = "Above: true class; below" if view.known[chosen].any() else "Below"
    red = ", red where it is of another class" if view.wrong[chosen].any() else ""
    note(
        drawn,
        f"{verdict}{above}: category found{red}."
        f" Mean error of a pixel over {len(inputs)} images: {rough_percent(error)} of its range"
        f" (their mean image: {rough_percent(plain)}).",
    )
    return drawn
