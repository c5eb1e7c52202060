"""Picture of styles: decoded images of each category with one style varied, and which styles change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aae_toolkit.evaluation import Floats, Integers
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import SMALL, note, tile_centres
from aae_toolkit.visualization.many import MOST, largest, left_out
from aae_toolkit.visualization.rows import NEVER, alike, rows_of_images, spread
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_STEPS = 11
_DEAD = 0.25  # change of a pixel from end to end, in units of its distance from the mean of images
_MIDDLE = (0.025, 0.975)  # quantiles of the images' style where the steps begin and end; of N(0, 1), about -2 and 2


def style_rows(view: View) -> Figure:
    """Draw decoded images: a row per category, with one style varied over its range in real images.

    It is the first style, or, if that changes nothing to see, the style that changes the images most.
    """
    shown, changes = largest(view.category_sizes), style_changes(view)
    dead = np.flatnonzero(changes < _DEAD * spread(view))
    style = int(changes.argmax()) if 0 in dead else 0
    k, name = len(shown), f"z{style + 1}"
    y, z = _varied(view, shown, style, _N_STEPS)
    pictures = view.decode(y, z)
    kept = (view.read(pictures) == y.argmax(axis=1)).reshape(k, _N_STEPS)
    labels = [
        view.category_name(category) + (f"\n{NEVER}" if view.category_sizes[category] == 0 else "")
        for category in shown
    ]
    drawn, axes = rows_of_images(view, list(pictures.reshape(k, _N_STEPS, *view.image_shape)), _N_STEPS, labels)
    steps = [f"{step:.2g}" for step in z[:_N_STEPS, style]]
    said = [step if i % (_N_STEPS // 2) == 0 else "" for i, step in enumerate(steps)]  # there is room for three
    axes.set_xticks(tile_centres(_N_STEPS, view.image_shape[2]), said, fontsize=SMALL)
    axes.set_xlabel(name + (", the other styles at their mean" if len(changes) > 1 else ""), fontsize=SMALL)
    note(
        drawn,
        f"{_rows_verdict(view, changes, dead, pictures.reshape(k, _N_STEPS, -1))}The encoder puts"
        f" {rough_percent(kept.mean())} of these {kept.size} pictures back in their row. {name} of the middle 95% of"
        f" images is {steps[0]} to {steps[-1]}; of the prior N(0, 1), -2 to 2.{left_out(k, view.n_categories)}",
    )
    return drawn


def _varied(view: View, shown: Integers, style: int, n: int) -> tuple[Floats, Floats]:
    """Return codes [shown * n, K] and [shown * n, Z]: `n` steps of one style of each category, others at their mean."""
    lowest, highest = np.quantile(view.z[:, style], _MIDDLE)
    y = np.repeat(np.eye(view.n_categories, dtype=np.float32)[shown], n, axis=0)
    z = np.repeat(view.z.mean(axis=0, keepdims=True), len(y), axis=0)
    z[:, style] = np.tile(np.linspace(lowest, highest, n, dtype=np.float32), len(shown))
    return y, z


def style_changes(view: View) -> Floats:
    """Return how much of its range a pixel changes from one end of each style to the other, on average, float32 [Z]."""
    shown = np.flatnonzero(view.category_sizes)[:MOST]
    ends = [view.decode(*_varied(view, shown, style, 2)) for style in range(view.z.shape[1])]
    return np.array([np.abs(pictures[1::2] - pictures[::2]).mean() for pictures in ends], dtype=np.float32)


def _rows_verdict(view: View, changes: Floats, dead: Integers, pictures: Floats) -> str:
    """Say which styles are dead, and whether the rows [k, steps, pixels] are alike; nothing if all is well."""
    verdicts = []
    if len(dead):
        more = f" and {len(dead) - MOST} more" if len(dead) > MOST else ""
        names, most = ", ".join(f"z{i + 1}" for i in dead[:MOST]) + more, f"{100 * changes[dead].max():.1f}%"
        are = "is a dead style" if len(dead) == 1 else "are dead styles"
        verdicts.append(
            f"{names} {are}: from end to end, a pixel changes by at most"
            f" {most} of its range on average (real images are {rough_percent(spread(view))} from their mean)."
        )
        if dead[0] == 0 and changes.argmax():
            verdicts.append(f"z{changes.argmax() + 1}, which changes the pictures most, is drawn instead of z1.")
    verdicts.append(alike(view, "rows", pictures.mean(axis=1)))
    return "".join(f"{verdict} " for verdict in verdicts if verdict)
