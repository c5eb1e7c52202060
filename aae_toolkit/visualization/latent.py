"""Pictures of the codes: t-SNE of y and z, certainty of y, distribution of z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.evaluation import Floats
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, MAIN_COLOR, PLAIN, SMALL, GroupStyle, new_figure, note
from aae_toolkit.visualization.many import OTHERS_COLOR, legend_of
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0
_MAX_POINTS = 5000
_MIN_POINTS = 4  # minimum for t-SNE, which needs neighbours
_PERPLEXITY = 30.0
_STEPS, _ANGLE = 500, 0.8  # of t-SNE; the defaults (1000, 0.5) give similar pictures in three times the time
_LEGEND_ROWS = 20
_SURE = 0.9
_MAX_STYLES = 10
_BINS = 60
FAR = "far from the prior"
_FAR, _SHIFTED = 2.0, 0.5  # distances of a mean from 0, in standard deviations of the prior
_PEAK, _NARROW, _WIDE = 0.2, 0.6, 1.5  # standard deviations; the prior has 1
_ALIKE = 0.3  # W1 up to which a bell of about the right place and width is like the prior
_LIMIT = 4.0  # minimum range of the z axis, in standard deviations


def too_few_for_tsne(view: View) -> str | None:
    """Return why `latent_space` cannot be drawn, or None if it can."""
    n = len(view.images)
    return f"{n} images are too few for t-SNE, which needs {_MIN_POINTS}" if n < _MIN_POINTS else None


def latent_space(view: View) -> Figure:
    """Draw t-SNE of the codes (y, z), coloured by true class if known, else by category.

    Misclassified images are crosses, drawn on top.
    """
    chosen = np.random.default_rng(_SEED).permutation(len(view.images))[:_MAX_POINTS]
    labelled = bool(view.known[chosen].any())
    if labelled:
        chosen = chosen[view.known[chosen]] if view.known[chosen].sum() >= _MIN_POINTS else chosen
        groups, names = view.labels[chosen], list(view.names.texts)
    else:
        groups, names = view.categories[chosen], [view.category_name(k) for k in range(view.n_categories)]
    points, wrong = _tsne(view, chosen), view.wrong[chosen]
    sizes = np.bincount(groups[groups != UNLABELED], minlength=len(names))
    legend = legend_of(names, sizes, "classes" if labelled else "categories")
    places = np.where(groups == UNLABELED, UNLABELED, legend.places[groups])
    n_columns = -(-len(legend.names) // _LEGEND_ROWS)
    drawn = new_figure(7.5 + 1.5 * n_columns, 7)
    axes: Any = drawn.subplots()
    for place, (name, appearance) in enumerate(zip(legend.names, legend.styles, strict=True)):
        member = places == place
        if member.any():
            _scatter(axes, points[member & ~wrong], points[member & wrong], name, appearance)
    if wrong.any():
        axes.scatter(
            [], [], s=34, color="white", marker="X", edgecolors="black", label=f"misclassified ({wrong.sum()})"
        )
    axes.set_xticks([])
    axes.set_yticks([])
    drawn.legend(
        title="true class" if labelled else "category", loc="outside right center", markerscale=2, ncols=n_columns
    )
    known = "labelled images" if labelled else "images without labels"
    errors = f", {wrong.sum()} of them misclassified ({rough_percent(wrong.mean())})" if labelled else ""
    note(
        drawn,
        f"{len(chosen)} {known}{errors}. Images with similar codes (y, z) lie side by side; y and z count alike, and"
        " distances between islands mean nothing.",
    )
    return drawn


def islands(view: View) -> str:
    """Say what to look for in `latent_space`."""
    if not view.known.any():
        return "islands of one colour, each a category"
    crosses = ", with few crosses" if view.wrong.any() else ""
    if view.n_categories > len(view.names.texts):
        return f"islands of one colour, one or more per class{crosses}"
    return f"an island per class, each of one colour{crosses}"


def _scatter(axes: Any, right: Floats, missed: Floats, name: str, appearance: GroupStyle) -> None:
    """Draw the images of a group; those of all other groups lie below, with small crosses, so that they hide none."""
    summed, size = appearance.color == OTHERS_COLOR, 9 if appearance.marker == "o" else 14
    cross = {"s": 16, "edgecolors": "0.35", "zorder": 0.95} if summed else {"s": 34, "edgecolors": "black", "zorder": 3}
    axes.scatter(
        *right.T,
        s=size,
        color=appearance.color,
        marker=appearance.marker,
        label=name,
        linewidths=0,
        zorder=0.9 if summed else 1,
    )
    axes.scatter(*missed.T, color=appearance.color, marker="X", linewidths=0.7, **cross)


def _tsne(view: View, chosen: Any) -> Floats:
    """Return points [n, 2]; z is scaled to vary at most as much as y, else many styles would hide the categories."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    codes = np.concatenate([view.y[chosen], view.z[chosen] / np.sqrt(view.z.shape[1])], axis=1)
    view.progress.say(f"t-SNE of {len(chosen)} codes...")
    reduction = TSNE(
        n_components=2,
        init="pca" if np.ptp(codes, axis=0).any() else "random",
        perplexity=min(_PERPLEXITY, (len(chosen) - 1) / 3),
        max_iter=_STEPS,
        angle=_ANGLE,
        random_state=_SEED,
    )
    with threadpool_limits(1):  # with several threads the order of additions, and the picture, would vary
        points: Floats = reduction.fit_transform(codes)
    return points


def certainty(view: View) -> Figure:
    """Draw a histogram of the largest probability in y, from 1/K to 1."""
    largest, chance = view.y.max(axis=1), 1 / view.n_categories
    drawn = new_figure(*PLAIN)
    axes: Any = drawn.subplots()
    counts, _, _ = axes.hist(largest, bins=50, range=(0, 1), color=MAIN_COLOR)
    axes.set_yscale("log")
    axes.set_ylim(0.5, max(20.0, 2 * counts.max()))  # a bar of a single image stays visible
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.axvline(chance, color="0.3", linestyle=":", label=f"1/{view.n_categories}: all categories alike")
    axes.axvline(_SURE, color=CONTRAST_COLOR, linestyle="--", label=f"{_SURE}")
    axes.set_xlabel("largest probability in y")
    axes.set_ylabel("images (log scale)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize=SMALL)
    sure = rough_percent((largest > _SURE).mean())
    note(drawn, f"{sure} of {len(largest)} images are above {_SURE}; the median is {np.median(largest):.3f}.")
    return drawn


def styles(view: View) -> Figure:
    """Draw a histogram of each of the first ten style dimensions, with the prior over it and a verdict in words."""
    n_styles = view.z.shape[1]
    n = min(n_styles, _MAX_STYLES)
    n_columns = 1 if n == 1 else 2 if n <= 4 else 3
    n_rows = -(-n // n_columns)
    drawn = new_figure(PLAIN[0] if n == 1 else 3.5 * n_columns, 4.2 if n == 1 else 2.8 * n_rows + 1)
    grid = drawn.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    shown = view.z[:, :n]
    limit = max(_LIMIT, float(np.quantile(np.abs(shown), 0.999)))
    line = np.linspace(-limit, limit, 400)
    for index, axes in enumerate(grid.flat):
        if index >= n:
            axes.remove()
            continue
        z = shown[:, index]
        axes.hist(z, bins=_BINS, range=(-limit, limit), density=True, color=MAIN_COLOR, label="images")
        axes.plot(line, np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi), color=CONTRAST_COLOR, label="prior N(0, 1)")
        ks, wasserstein = normality(z)
        axes.set_title(
            f"z{index + 1}: {bell(z)}\nmean {z.mean():.2f}, deviation {z.std():.2f}\nKS {ks:.3f}, W1 {wasserstein:.3f}",
            fontsize=SMALL,
        )
        axes.xaxis.set_tick_params(labelbottom=index + n_columns >= n)
    grid[0, 0].legend(fontsize=SMALL)
    drawn.supylabel("density", fontsize=SMALL)
    more = f" Shown: {n} of {n_styles} dimensions." if n < n_styles else ""
    note(
        drawn,
        f"{_bells(view)} Distance to N(0, 1) of {len(shown)} images: KS is the largest gap between distribution"
        f" functions, W1 the mean shift that would make them equal; both are 0 for a perfect bell.{more}",
    )
    return drawn


def bell(z: Floats) -> str:
    """Say in words how the values [N] of a style lie beside the prior N(0, 1)."""
    mean, deviation = abs(float(z.mean())), float(z.std())
    if mean > _FAR:
        return FAR
    place = ["shifted"] if mean > _SHIFTED else []
    width = (
        ["a narrow peak"]
        if deviation < _PEAK
        else ["narrow"]
        if deviation < _NARROW
        else ["wide"]
        if deviation > _WIDE
        else []
    )
    if place or width:
        return " and ".join(place + width)
    return "like the prior" if normality(z)[1] < _ALIKE else "of another shape"


def _bells(view: View) -> str:
    """Sum the verdicts on all styles up in a sentence."""
    verdicts = [bell(z) for z in view.z.T]
    n, n_far, n_alike = len(verdicts), verdicts.count(FAR), verdicts.count("like the prior")
    if n_far:
        are = "is" if n_far == 1 else "are"
        return (
            f"{n_far} of {n} styles {are} {FAR}, so pictures of styles drawn from it, or of z = 0, are like no image."
        )
    return f"{n_alike} of {n} style{'' if n == 1 else 's'} {'is' if n_alike == 1 else 'are'} like the prior."


def normality(z: Floats) -> tuple[float, float]:
    """Return distances of values [N] to N(0, 1): Kolmogorov-Smirnov statistic in [0, 1], and Wasserstein-1 distance."""
    from scipy.stats import kstest, norm, wasserstein_distance

    quantiles = norm.ppf((np.arange(len(z)) + 0.5) / len(z))
    return float(kstest(z, "norm").statistic), float(wasserstein_distance(z, quantiles))
