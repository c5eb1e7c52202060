"""Learning curves from `metrics.jsonl`, under the seed document's file names, spelling ("advesarial") included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aae_toolkit.config import Variant
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import read_description
from aae_toolkit.training.metrics import FILE_NAME, Line, read_metrics
from aae_toolkit.visualization.canvas import PLAIN, SMALL, colors, new_figure, note, save, style, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEW = 40  # epochs up to which each is marked by a dot


@dataclass(frozen=True)
class Curve:
    """Picture of learning curves: its title, what to look for, its terms, and reference levels with their meaning."""

    title: str
    look_for: str
    terms: tuple[str, ...]
    levels: tuple[tuple[float, str], ...] = ()
    is_accuracy: bool = False


_BALANCE = ((2 * math.log(2), "a discriminator that knows nothing"), (math.log(2), "a generator against it"))
_SHARED = {
    "{variant}_advesarial_learning_curve.png": Curve(
        "Adversarial losses",
        "lines near the dotted ones, where neither side runs away",
        ("discriminator_categorical", "discriminator_gaussian", "generator_categorical", "generator_gaussian"),
        _BALANCE,
    ),
    "{variant}_reconstruction_learning_curve.png": Curve(
        "Reconstruction loss", "a fall that levels off", ("reconstruction", "mode_reconstruction")
    ),
    "{variant}_consistency_learning_curve.png": Curve(
        "Terms on y, weighted",
        "lines that level off, none of them rising for long",
        ("pairs", "balance", "pseudo_labels", "virtual_adversarial", "over_clustering"),
    ),
}
_OWN: dict[Variant, dict[str, Curve]] = {
    "semi_supervised": {
        "semi_supervised_classification_learning_curve.png": Curve(
            "Classification loss on labelled images", "a fall towards 0", ("classification",)
        ),
        "semi_supervised_accuracy_learning_curve.png": Curve(
            "Accuracy on validation images", "a rise that levels off", ("validation_accuracy",), is_accuracy=True
        ),
    },
    "unsupervised": {
        "unsupervised_cyclic_info_learning_curve.png": Curve(
            "Cyclic mode loss", "a fall: codes survive one more decoding and encoding", ("mutual_information",)
        ),
        "unsupervised_accuracy_learning_curve.png": Curve(
            "Majority accuracy on validation images",
            "a rise that levels off",
            ("validation_majority_accuracy",),
            is_accuracy=True,
        ),
    },
}


def curves_of(variant: Variant) -> dict[str, Curve]:
    """Return the curves of a variant by file name."""
    return {name.format(variant=variant): curve for name, curve in (_SHARED | _OWN[variant]).items()}


def draw_learning_curves(model_dir: Path, variant: Variant, n_validation: int | None = None) -> list[Path]:
    """Draw every curve with terms that were trained in some epoch; return the files written.

    Args:
        model_dir: model directory, with metrics.jsonl.
        variant: variant of the model.
        n_validation: number of images that accuracies were measured on, to say so; None if it is not known.

    Raises:
        AaeError: metrics.jsonl is absent or damaged.
    """
    lines, kept = read_metrics(model_dir / FILE_NAME), _kept(model_dir)
    written = []
    for name, curve in curves_of(variant).items():
        path = model_dir / name
        if any(term in line for term in curve.terms for line in lines):
            with style():
                save(draw_curve(curve, lines, n_validation, kept), path)
            written.append(path)
        else:
            path.unlink(missing_ok=True)  # from an earlier training with other terms
    return written


def _kept(model_dir: Path) -> int | None:
    """Return the epoch that was chosen as the best; None where the last one is kept."""
    epochs = read_description(model_dir).epochs if (model_dir / DESCRIPTION_FILE).is_file() else None
    return epochs.kept if epochs and epochs.chosen_by else None


def draw_curve(curve: Curve, lines: Sequence[Line], n_validation: int | None = None, kept: int | None = None) -> Figure:
    """Draw the terms of a curve over the `lines` of metrics.jsonl; a missing value leaves a gap.

    `kept` is the epoch that was chosen as the best, which is marked.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    present = [term for term in curve.terms if any(term in line for line in lines)]
    drawn = new_figure(*PLAIN)
    axes = drawn.subplots()
    epochs = [line["epoch"] for line in lines]
    for term, color in zip(present, colors(len(present)), strict=True):
        values = [float(line.get(term, math.nan)) for line in lines]
        axes.plot(epochs, values, color=color, label=term.replace("_", " "), marker="." if len(lines) <= _FEW else None)
    for level, label in curve.levels:
        axes.axhline(level, color="0.3", linestyle=":", linewidth=1)
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}
        place, across = (0.99, level), ("axes fraction", "data")
        axes.annotate(label, place, xycoords=across, ha="right", va="bottom", fontsize=SMALL, bbox=box)
    if kept is not None:
        axes.axvline(kept, color="0.3", linestyle="--", linewidth=1, label=f"kept: epoch {kept}")
    axes.set_xlabel("epoch")
    if curve.is_accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    else:
        axes.set_ylabel("loss, nats")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if len(present) > 2:
        drawn.legend(loc="outside lower center", ncols=2, fontsize=SMALL)
    else:
        axes.legend(fontsize=SMALL)
    title(drawn, curve.title, curve.look_for)
    note(drawn, _figures(curve, lines, present, n_validation))
    return drawn


def _figures(curve: Curve, lines: Sequence[Line], terms: Iterable[str], n_validation: int | None) -> str:
    """Return the note: the last values, and the best accuracy."""
    if not curve.is_accuracy:
        last = [f"{term.replace('_', ' ')} {[line for line in lines if term in line][-1][term]:.3f}" for term in terms]
        return f"Last epoch: {', '.join(last)}."
    [term] = terms
    values = {line["epoch"]: line[term] for line in lines if term in line}
    best = max(values, key=lambda epoch: values[epoch])
    of = f" Of {n_validation} images." if n_validation else ""
    return f"Last {100 * [*values.values()][-1]:.2f}%; best {100 * values[best]:.2f}%, in epoch {best}.{of}"
