"""Pictures of mistakes: the confusion matrix, and the most uncertain images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aae_toolkit.evaluation import Floats, Integers, contingency_table
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, SMALL, WIDEST, cell_size, new_figure, note, show_image
from aae_toolkit.visualization.many import most_confused, others, with_others
from aae_toolkit.visualization.names import shorten
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_NUMBERED = 16  # classes up to which cells show counts
_N_UNCERTAIN = 24
_COLUMNS = 8
_NAME_COLUMNS = 10


def no_labels(view: View) -> str | None:
    """Return why `confusion` cannot be drawn, or None if it can."""
    return None if view.known.any() else "no image has a label"


def confusion(view: View) -> Figure:
    """Draw the share of each true class (row) that is given each class (column), with counts if there is room.

    Of many classes, those with the most mistakes are drawn, and the others as one.
    """
    from matplotlib.colors import PowerNorm

    labels, classes, all_names = view.labels[view.known], view.classes[view.known], view.names.texts
    all_counts = contingency_table(labels, classes, len(all_names), len(all_names))
    shown = most_confused(all_counts)
    n_others = len(all_names) - len(shown)
    table = with_others(with_others(all_counts, shown).T, shown).T
    names = [*(all_names[c] for c in shown), *([others(n_others)] if n_others else [])]
    n, totals = len(names), table.sum(axis=1)
    side = min(8.2, max(4.2, 0.5 * n if n <= _MAX_NUMBERED else 0.3 * n))
    drawn = new_figure(side + 2.4, side + 1.7)
    axes = drawn.subplots()
    # Mistakes are small shares; the square root scale makes them visible.
    shares = table / np.maximum(totals, 1)[:, np.newaxis]
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    drawn.colorbar(image, ax=axes, label="share of the true class (square-root scale)", shrink=0.8)
    crowded = max(map(len, names)) * n > 11 * side
    axes.set_xticks(range(n), names, fontsize=SMALL, rotation=90 if crowded else 0)
    rows = [name if total else f"{name} (no images)" for name, total in zip(names, totals, strict=True)]
    axes.set_yticks(range(n), rows, fontsize=SMALL)
    axes.set_xlabel("class found")
    axes.set_ylabel("true class")
    if n <= _MAX_NUMBERED:
        for (row, column), count in np.ndenumerate(table):
            if count:
                color = "white" if shares[row, column] > 0.4 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=SMALL, color=color)
    right = rough_percent(np.trace(all_counts) / len(labels))
    summed = (
        f" Shown: the {len(shown)} classes with the most mistakes. The other {n_others} are summed, and mistakes among"
        " them are in the last cell too."
    )
    note(drawn, f"{right} of {len(labels)} are right.{_worst(all_counts, all_names)}{summed if n_others else ''}")
    return drawn


def _worst(table: Integers, names: tuple[str, ...]) -> str:
    """Return the three most frequent mistakes, in words."""
    mistakes = table.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:3]
    pairs = [divmod(int(position), len(names)) for position in order]
    texts = [f"{names[i]} taken for {names[j]} ({mistakes[i, j]})" for i, j in pairs if mistakes[i, j]]
    return f" Most often wrong: {', '.join(texts)}." if texts else ""


def class_probabilities(view: View) -> Floats:
    """Return category probabilities summed by class, float32 [N, classes], as in the deployed classifier."""
    table = np.eye(len(view.names.texts), dtype=np.float32)[view.category_to_class]
    return view.y @ table


def most_uncertain(view: View) -> Figure:
    """Draw the images whose likeliest class is least likely, with their two likeliest classes and the true class."""
    probabilities = class_probabilities(view)
    largest = probabilities.max(axis=1)
    chosen = np.argsort(largest, kind="stable")[:_N_UNCERTAIN]
    n_columns = min(_COLUMNS, len(chosen))
    n_rows = -(-len(chosen) // n_columns)
    width, height = (1.5 * side for side in cell_size(view.image_shape, n_rows, n_columns, WIDEST / 1.5))
    drawn = new_figure(min(WIDEST, max(5.0, n_columns * max(width, 1.35))), n_rows * (height + 0.6) + 1.1)
    grid = drawn.subplots(n_rows, n_columns, squeeze=False)
    names = [shorten(text, _NAME_COLUMNS) for text in view.names.texts]
    for position, axes in enumerate(grid.flat):
        if position >= len(chosen):
            axes.remove()
            continue
        index = chosen[position]
        show_image(axes, view.images[index])
        likeliest = np.argsort(-probabilities[index], kind="stable")[:2]
        lines = [f"{names[c]} {100 * probabilities[index, c]:.0f}%" for c in likeliest]
        if view.known[index]:
            lines.append(f"true: {names[view.labels[index]]}")
        axes.set_title("\n".join(lines), fontsize=SMALL, color=CONTRAST_COLOR if view.wrong[index] else "black")
    lowest, highest = 100 * largest[chosen[[0, -1]]]
    summary = f"The likeliest label of these {len(chosen)} has {lowest:.0f}% to {highest:.0f}%."
    if view.known.any():
        of_all = rough_percent(view.wrong[view.known].mean())
        summary += f" {view.wrong[chosen].sum()} are wrong (red); of all {view.known.sum()} labelled images, {of_all}."
    note(drawn, summary)
    return drawn
