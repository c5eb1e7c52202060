"""Picture of reconstructions: images and their reconstructions from the codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aae_toolkit.evaluation import Integers
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, cell_size, new_figure, note, show_image
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0
_N_EXAMPLES = 10
_N_MEASURED = 1000


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
    width, height = (1.4 * side for side in cell_size(view.image_shape, 2))
    drawn = new_figure(max(5.0, max(width, 0.95) * len(chosen) + 0.8), 2 * height + 1.6)
    grid = drawn.subplots(2, len(chosen), squeeze=False)
    for column, index in enumerate(chosen):
        show_image(grid[0, column], view.images[index])
        show_image(grid[1, column], pictures[column])
        if view.known[index]:
            grid[0, column].set_title(view.names.texts[view.labels[index]], fontsize=8)
        color = CONTRAST_COLOR if view.wrong[index] else "black"
        grid[1, column].set_xlabel(view.category_name(view.categories[index], narrow=True), fontsize=8, color=color)
    for row, text in enumerate(("input", "rebuilt")):
        grid[row, 0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)
    measured = slice(0, _N_MEASURED)
    inputs = view.images[measured].astype(np.float32) / 255
    error = float(np.abs(view.decode(view.y[measured], view.z[measured]) - inputs).mean())
    plain = float(np.abs(inputs.mean(axis=0) - inputs).mean())
    note(
        drawn,
        f"Above: true class; below: category found{', red where it is of another class' if view.known.any() else ''}."
        f" Mean error of a pixel over {len(inputs)} images: {rough_percent(error)} of its range"
        f" (their mean image: {rough_percent(plain)}).",
    )
    return drawn
