"""Pictures of the categories: decoded images, real images and sizes of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.evaluation import Integers, contingency_table, majority_accuracy
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import (
    CONTRAST_COLOR,
    cell_size,
    group_styles,
    new_figure,
    note,
    show_image,
    tile,
    tile_centres,
)
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0
_N_STYLES = 11  # steps of z0
_MIDDLE = (0.025, 0.975)  # quantiles of the images' z0 where the steps begin and end; of N(0, 1), about -2 and 2
_N_SAMPLES = 8  # real images beside each mode
_MARGIN = 2.2  # inches for the names on the left
_LEGEND_ROWS = 16
NEVER = "never predicted"


def style_rows(view: View) -> Figure:
    """Draw decoded images: a row per category, with the first style varied over its range in real images."""
    lowest, highest = np.quantile(view.z[:, 0], _MIDDLE)
    steps = np.linspace(lowest, highest, _N_STYLES, dtype=np.float32)
    k, z_size = view.n_categories, view.model.architecture.z_size
    y = np.repeat(np.eye(k, dtype=np.float32), _N_STYLES, axis=0)  # [K * steps, K]
    z = np.repeat(view.z.mean(axis=0, keepdims=True), len(y), axis=0)
    z[:, 0] = np.tile(steps, k)
    pictures = view.decode(y, z)
    kept = (view.read(pictures) == y.argmax(axis=1)).reshape(k, _N_STYLES)
    labels = [
        view.category_name(category) + (f"\n{NEVER}" if n == 0 else "")
        for category, n in enumerate(view.category_sizes)
    ]
    drawn, axes = _rows(view, list(pictures.reshape(k, _N_STYLES, *view.image_shape)), _N_STYLES, labels)
    axes.set_xticks(tile_centres(_N_STYLES, view.image_shape[2]), [f"{step:.2g}" for step in steps], fontsize=8)
    axes.set_xlabel("z0" + (", the other styles at their mean" if z_size > 1 else ""), fontsize=9)
    note(
        drawn,
        f"The encoder puts {rough_percent(kept.mean())} of these {kept.size} pictures back in their row. z0 of the"
        f" middle 95% of images is {lowest:.2f} to {highest:.2f}; of the prior N(0, 1), -1.96 to 1.96.",
    )
    return drawn


def modes_and_samples(view: View) -> Figure:
    """Draw each category's mode (z = 0) beside random real images of it; images of another class are framed."""
    order, height, width = np.random.default_rng(_SEED).permutation(len(view.images)), *view.image_shape[1:]
    modes, rows, labels, framed = view.modes(), [], [], []
    for category, size in enumerate(view.category_sizes):
        members = order[view.categories[order] == category][:_N_SAMPLES]
        rows.append([modes[category], *view.images[members]])
        framed += [(category, column) for column, wrong in enumerate(view.wrong[members], 1) if wrong]
        labels.append(f"{view.category_name(category)}\n{_purity(view, category)}{size} images")
    drawn, axes = _rows(view, rows, _N_SAMPLES + 1, labels)
    xs, ys = tile_centres(_N_SAMPLES + 1, width), tile_centres(len(rows), height)
    for row, y in zip(rows, ys, strict=True):
        if len(row) == 1:
            axes.text(xs[1] - width / 2, y, NEVER, va="center", fontsize=8, color="0.25")
    for row_index, column in framed:
        _frame(axes, xs[column], ys[row_index], width, height)
    axes.axvline(xs[0] + (width + 1) / 2, color="0.3", linewidth=1)
    axes.set_xticks([xs[0], (xs[1] + xs[-1]) / 2], ["mode", "real images"], fontsize=8)
    frames = f" {len(framed)} of the real images shown are framed: of another class." if view.known.any() else ""
    note(drawn, f"{_overall_purity(view)}{_empty(view)}{frames}")
    return drawn


def sizes(view: View) -> Figure:
    """Draw the number of images in each category, split by true class where it is known."""
    k, names = view.n_categories, view.names.texts
    positions, groups = np.arange(k), _table(view)
    entries = list(zip(names, group_styles(len(names)), groups, strict=True))
    n_columns = -(-sum(bool(counts.any()) for *_, counts in entries) // _LEGEND_ROWS)
    drawn = new_figure(max(6.0, 0.32 * k + 1.5) + 1.5 * n_columns, 4.8)
    axes = drawn.subplots()
    bottom = np.zeros(k, dtype=np.int64)
    for name, appearance, counts in entries:
        if counts.any():
            bars = axes.bar(positions, counts, bottom=bottom, color=appearance.color, label=name)
            for bar in bars:
                bar.set(hatch=appearance.hatch, edgecolor="white", linewidth=0)
        bottom += counts
    if not view.known.all():
        unknown = view.category_sizes - bottom
        axes.bar(positions, unknown, bottom=bottom, color="0.75", label="no label")
    axes.axhline(len(view.images) / k, color="0.2", linestyle="--", linewidth=1, label="equal shares")
    for category in np.flatnonzero(view.category_sizes == 0).tolist():
        axes.text(category, 0, f" {NEVER}", rotation=90, ha="center", va="bottom", fontsize=8, color=CONTRAST_COLOR)
    labels = [view.category_name(category) for category in range(k)]
    crowded = max(map(len, labels)) * k > 80
    axes.set_xticks(positions, labels, fontsize=8, rotation=90 if crowded else 0)
    axes.set_xlabel("category (the class it stands for)", fontsize=9)
    axes.set_xlim(-0.7, k - 0.3)
    axes.set_ylabel("images")
    drawn.legend(title="true class", loc="outside right center", fontsize=8, ncols=max(1, n_columns))
    note(drawn, f"{_overall_purity(view)}{_empty(view)}")
    return drawn


def mode_decoder_modes(view: View) -> Figure:
    """Draw the mode decoder's image of each category."""
    k, modes = view.n_categories, view.mode_decoder_modes()
    n_columns = min(10, k)
    n_rows = -(-k // n_columns)
    width, height = (1.5 * side for side in cell_size(view.image_shape, n_rows))
    drawn = new_figure(max(5.0, n_columns * max(width, 0.9)), n_rows * (height + 0.45) + 1.1)
    grid = drawn.subplots(n_rows, n_columns, squeeze=False)
    kept = view.read(modes) == np.arange(k)
    for category, axes in enumerate(grid.flat):
        if category >= k:
            axes.remove()
            continue
        show_image(axes, modes[category])
        empty = f"\n{NEVER}" if view.category_sizes[category] == 0 else ""
        axes.set_title(view.category_name(category, narrow=True) + empty, fontsize=7)
    note(drawn, f"The encoder reads {kept.sum()} of the {k} modes as their own category.")
    return drawn


def no_mode_decoder(view: View) -> str | None:
    """Return why `mode_decoder_modes` cannot be drawn, or None if it can."""
    return "the model has no mode decoder" if view.model.mode_decoder is None else None


def _rows(
    view: View, rows: Sequence[Iterable[NDArray[Any]]], n_columns: int, labels: Sequence[str]
) -> tuple[Figure, Any]:
    """Return a figure with a row of images per category, named by `labels`, and its axes."""
    width, height = cell_size(view.image_shape, len(rows))
    drawn = new_figure(max(6.5, n_columns * width + _MARGIN), max(2.5, len(rows) * height + 1.6))
    axes = drawn.subplots()
    show_image(axes, tile(rows, n_columns))
    axes.set_yticks(tile_centres(len(rows), view.image_shape[1]), labels, fontsize=8 if height >= 0.5 else 6)
    axes.tick_params(length=0)
    return drawn, axes


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
    return f" Never predicted: {', '.join(map(str, empty))} ({len(empty)} of {view.n_categories})."
