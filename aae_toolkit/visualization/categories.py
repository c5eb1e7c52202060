"""Pictures of the categories: decoded images, real images and sizes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aae_toolkit.evaluation import Integers, contingency_table, majority_accuracy
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import (
    CONTRAST_COLOR,
    SMALL,
    WIDEST,
    GroupStyle,
    cell_size,
    new_figure,
    note,
    show_image,
    tile_centres,
)
from aae_toolkit.visualization.many import MOST, OTHERS_COLOR, largest, left_out, legend_of, others
from aae_toolkit.visualization.rows import NEVER, alike, rows_of_images
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0
_N_SAMPLES = 8  # real images beside each mode
_LEGEND_ROWS = 16
_CUT = 1.3  # height of the axis over the highest bar, where the bar of all other categories is cut


def modes_and_samples(view: View) -> Figure:
    """Draw each category's mode beside random real images of it; images of another class are framed."""
    order, height, width = np.random.default_rng(_SEED).permutation(len(view.images)), *view.image_shape[1:]
    shown = largest(view.category_sizes)
    modes, rows, labels, framed = view.modes(), [], [], []
    for row_index, category in enumerate(shown):
        members = order[view.categories[order] == category][:_N_SAMPLES]
        rows.append([modes[category], *view.images[members]])
        framed += [(row_index, column) for column, wrong in enumerate(view.wrong[members], 1) if wrong]
        size = view.category_sizes[category]
        labels.append(
            f"{view.category_name(category)}\n{_purity(view, category)}{size} image{'' if size == 1 else 's'}"
        )
    drawn, axes = rows_of_images(view, rows, _N_SAMPLES + 1, labels)
    xs, ys = tile_centres(_N_SAMPLES + 1, width), tile_centres(len(rows), height)
    for row, y in zip(rows, ys, strict=True):
        if len(row) == 1:
            axes.text(xs[1] - width / 2, y, NEVER, va="center", fontsize=SMALL, color="0.25")
    for row_index, column in framed:
        _frame(axes, xs[column], ys[row_index], width, height)
    axes.axvline(xs[0] + (width + 1) / 2, color="0.3", linewidth=1)
    at = "mean z" if view.zero_is_far else "z = 0"
    axes.set_xticks([xs[0], (xs[1] + xs[-1]) / 2], [f"at {at}", "real images"], fontsize=SMALL)
    frames = f" {len(framed)} of the real images shown are framed: of another class." if framed else ""
    note(
        drawn,
        f"{_where(view)} {alike(view, 'modes', modes[shown])}{_empty(view)}{frames}"
        f"{left_out(len(shown), view.n_categories)}",
    )
    return drawn


def _where(view: View) -> str:
    """Say where the modes are decoded."""
    if not view.zero_is_far:
        return "A mode is the decoder's picture of a category at z = 0."
    nearest, spread = view.distances_to_codes
    return (
        f"A mode is the decoder's picture of a category at the mean z of its images, since z = 0 is far from all codes:"
        f" {nearest:.1f} from the nearest, where half are within {spread:.1f} of their mean."
    )


def sizes(view: View) -> Figure:
    """Draw the number of images in each category, split by true class where it is known.

    Of many categories, the smallest are one bar, which may end at the upper edge.
    """
    from matplotlib.ticker import MaxNLocator

    shown = largest(view.category_sizes, MOST if view.n_categories <= MOST else MOST - 1)
    n_others, shown_sizes = view.n_categories - len(shown), view.category_sizes[shown]
    entries = _by_class(view, shown)
    n_columns = -(-len(entries) // _LEGEND_ROWS)
    bars = min(WIDEST - 1.5 * n_columns, max(5.2, 0.32 * (len(shown) + bool(n_others)) + 1.5))
    drawn = new_figure(bars + 1.5 * n_columns, 4.8)
    axes = drawn.subplots()
    positions, bottom = np.arange(len(shown)), np.zeros(len(shown), dtype=np.int64)
    for name, appearance, counts in entries:
        for bar in axes.bar(positions, counts, bottom=bottom, color=appearance.color, label=name):
            bar.set(hatch=appearance.hatch, edgecolor="white", linewidth=0)
        bottom += counts
    if not view.known.all():
        axes.bar(positions, shown_sizes - bottom, bottom=bottom, color="0.75", label="no label")
    labels = [view.category_name(category) for category in shown]
    if n_others:
        _bar_of_others(axes, len(shown), len(view.images) - shown_sizes.sum(), shown_sizes.max())
        labels.append(others(n_others, "categories"))
    axes.axhline(len(view.images) / view.n_categories, color="0.2", linestyle="--", linewidth=1, label="equal shares")
    for position in np.flatnonzero(shown_sizes == 0).tolist():
        axes.text(position, 0, f" {NEVER}", rotation=90, ha="center", va="bottom", fontsize=SMALL, color=CONTRAST_COLOR)
    crowded = max(map(len, labels)) * len(labels) > 14 * (bars - 0.9)
    axes.set_xticks(range(len(labels)), labels, fontsize=SMALL, rotation=90 if crowded else 0)
    axes.set_xlabel("category" + (" (the class it stands for)" if view.has_class_names else ""), fontsize=SMALL)
    axes.set_xlim(-0.7, len(labels) - 0.3)
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    drawn.legend(
        title="true class" if view.known.any() else None,
        loc="outside right center",
        fontsize=SMALL,
        ncols=max(1, n_columns),
    )
    note(drawn, f"{_overall_purity(view)}{_empty(view)}{left_out(len(shown), view.n_categories)}")
    return drawn


def _by_class(view: View, shown: Integers) -> list[tuple[str, GroupStyle, Integers]]:
    """Return name, style and numbers of images in the `shown` categories, for each class with images there."""
    table, names = _table(view)[:, shown], view.names.texts
    legend = legend_of(names, table.sum(axis=1))
    counts = np.zeros((len(legend.names), len(shown)), dtype=np.int64)
    np.add.at(counts, legend.places, table)
    return [entry for entry in zip(legend.names, legend.styles, counts, strict=True) if entry[2].any()]


def _bar_of_others(axes: Any, position: int, total: int, highest: int) -> None:
    """Draw the bar of all other categories, cut where it would make the `highest` of the others too small to see."""
    limit = int(_CUT * max(1, highest))
    axes.bar(position, min(total, limit), color=OTHERS_COLOR)
    if total > limit:
        axes.set_ylim(0, limit)
        cut = f"{total} images, cut here "
        axes.text(position, limit, cut, rotation=90, ha="center", va="top", fontsize=SMALL)


def mode_decoder_modes(view: View) -> Figure:
    """Draw the mode decoder's image of each category."""
    shown, modes = largest(view.category_sizes), view.mode_decoder_modes()
    k = len(shown)
    width, height = (1.5 * side for side in cell_size(view.image_shape, 1))
    n_columns = min(10, k, int(WIDEST / max(width, 1.1)))
    n_rows = -(-k // n_columns)
    drawn = new_figure(max(5.0, n_columns * max(width, 1.1)), n_rows * (height + 0.5) + 1.1)
    grid = drawn.subplots(n_rows, n_columns, squeeze=False)
    n_kept = (view.read(modes) == np.arange(view.n_categories)).sum()
    for position, axes in enumerate(grid.flat):
        if position >= k:
            axes.remove()
            continue
        category = shown[position]
        show_image(axes, modes[category])
        empty = f"\n{NEVER}" if view.category_sizes[category] == 0 else ""
        axes.set_title(view.category_name(category, narrow=True) + empty, fontsize=SMALL)
    note(
        drawn,
        f"{alike(view, 'modes', modes[shown])} The encoder reads {n_kept} of the {view.n_categories} modes as their"
        f" own category.{left_out(k, view.n_categories)}",
    )
    return drawn


def no_mode_decoder(view: View) -> str | None:
    """Return why `mode_decoder_modes` cannot be drawn, or None if it can."""
    return "the model has no mode decoder" if view.model.mode_decoder is None else None


def _frame(axes: Any, x: float, y: float, width: int, height: int) -> None:
    from matplotlib.patches import Rectangle

    corner = (x - width / 2, y - height / 2)
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=CONTRAST_COLOR, linewidth=1.8))


def _table(view: View) -> Integers:
    """Return the numbers of labelled images by true class and category, int64 [classes, K]."""
    labels, categories = view.labels[view.known], view.categories[view.known]
    return contingency_table(labels, categories, len(view.names.texts), view.n_categories)


def _purity(view: View, category: int) -> str:
    """Return the share of a category's labelled images that belong to its class, as text."""
    member = view.known & (view.categories == category)
    return f"{rough_percent((~view.wrong[member]).mean())} of " if member.any() else ""


def _overall_purity(view: View) -> str:
    n = int(view.known.sum())
    if n == 0:
        return f"{len(view.images)} images without labels."
    share = rough_percent(majority_accuracy(_table(view)))
    return f"Purity, the share of {n} images that are of their category's most frequent class: {share}."


def _empty(view: View) -> str:
    empty = np.flatnonzero(view.category_sizes == 0)
    if len(empty) == 0:
        return " No category is empty."
    more = f" and {len(empty) - MOST} more" if len(empty) > MOST else ""
    return f" Never predicted: {', '.join(map(str, empty[:MOST]))}{more} ({len(empty)} of {view.n_categories})."
