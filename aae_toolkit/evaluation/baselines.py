"""Simple methods beside a model, which give its accuracy a meaning, and whether the model is better.

Always the largest class; logistic regression on the same labels; without labels, k-means, whose clusters are named as
the model's categories are. All see what the model sees: the pixels, or the embeddings of its backbone.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import UNLABELED, Split, SplitName, evenly
from aae_toolkit.evaluation.encoding import load_for
from aae_toolkit.evaluation.paired import compare_accuracy
from aae_toolkit.evaluation.tables import Floats, Integers, balanced_accuracy, contingency_table, majority_map
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.models.directory import TrainedModel

Standing = Literal["better", "unclear", "not better"]

_SIGNIFICANT = 0.05  # p-value below which a difference in accuracy is not put down to chance
_REGRESSION_COST = 4e8  # most images x numbers of each x classes: about 7 s of one core
_MEANS_COST = 1e8  # most images x numbers of each x clusters: about 7 s of one core
_PART = 500  # images a prediction
_STARTS = 10  # of k-means, as in docs/results.md
_INVERSE_PENALTY = 10  # C of the logistic regression, as in docs/results.md


@dataclass(frozen=True)
class Baseline:
    """Accuracy of a simple method on the images that the model was scored on, and the model's standing beside it.

    Attributes:
        name: name in JSON.
        title: name for people, such as "logistic regression on the pixels".
        basis: what it learned from, such as "the same 100 labels"; empty if it learns nothing.
        accuracy: share of the images labelled right, a fraction.
        balanced_accuracy: mean of that share over the classes that have images, a fraction.
        n_fitted: images that it learned from.
        n_available: images that it could have learned from; it took fewer where all would take too long.
        p_value: p-value of McNemar's exact test that the model is as accurate.
        standing: "better" if the model is more accurate and chance does not explain it, "unclear" if chance may.
        verdict: the standing in words, one sentence.
    """

    name: Literal["largest_class", "logistic_regression", "k_means"]
    title: str
    basis: str
    accuracy: float
    balanced_accuracy: float
    n_fitted: int
    n_available: int
    p_value: float
    standing: Standing
    verdict: str


@dataclass(frozen=True)
class Baselines:
    """Baselines of one evaluation, and a line for each that could not be fitted."""

    scored: list[Baseline] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scored:
    """Images that a model was scored on.

    Attributes:
        images: the labelled images of the split, with the model's class indices.
        name: name of the split.
        predicted: labels that the model gives them, int64 [n].
    """

    images: Split
    name: SplitName
    predicted: Integers


def score_baselines(model: TrainedModel, data: DataDirectory, scored: Scored) -> Baselines:
    """Fit the baselines of a model to the training images of a data directory, and score them beside it.

    Args:
        model: the trained model.
        data: the data directory that the scored images are from.
        scored: the images, and the model's labels of them.

    Raises:
        AaeError: a split of the data directory is absent or damaged.
    """
    largest = int(np.bincount(scored.images.labels).argmax())
    found = Baselines()
    title = f"always the largest class ({model.description.class_names[largest]})"
    constant = np.full(len(scored.images), largest)
    found.scored.append(_compared("largest_class", title, "", constant, scored, model))
    if model.architecture.backbone is not None and scored.images.embeddings is None:
        found.left_out.append(
            f"no method is fitted beside the model: {data.path} holds no embeddings of the model's backbone; make"
            " them with aae init-datasets --backbone"
        )
    elif model.description.variant == "semi_supervised":
        _add_regression(found, model, data, scored)
    else:
        _add_means(found, model, data, scored)
    return found


def _add_regression(found: Baselines, model: TrainedModel, data: DataDirectory, scored: Scored) -> None:
    """Add a logistic regression on the labelled training images."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    taught = load_for(model, data, "train_labeled", mapped=True)
    known = np.flatnonzero(taught.labels != UNLABELED)
    classes = np.unique(taught.labels[known])
    if len(classes) < 2:
        held = "none has a label" if not len(known) else "all have the same label"
        found.left_out.append(f"no logistic regression beside the model: of the training images of {data.path}, {held}")
        return
    fitted = taught.of(known[evenly(len(known), _affordable(taught, _REGRESSION_COST / len(classes)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is a form of regularization
        method = LogisticRegression(C=_INVERSE_PENALTY).fit(_rows(fitted), fitted.labels)
    title, n = f"logistic regression on the {_seen(fitted)}", (len(fitted), len(known))
    predicted = _predict(method, scored.images)
    found.scored.append(_compared("logistic_regression", title, _basis("labels", *n), predicted, scored, model, n))


def _add_means(found: Baselines, model: TrainedModel, data: DataDirectory, scored: Scored) -> None:
    """Add k-means with as many clusters as the model has categories, named by the validation images like them."""
    from sklearn.cluster import KMeans

    naming = scored.images
    if scored.name != "validation":
        naming = _labeled(load_for(model, data, "validation"))
    n_clusters, n_classes = model.architecture.n_classes, len(model.description.class_names)
    parts = [load_for(model, data, name, mapped=True) for name in ("train_labeled", "train_unlabeled")]
    available = sum(len(part) for part in parts)
    share = min(_affordable(scored.images, _MEANS_COST / n_clusters) / max(available, 1), 1)
    rows = np.concatenate([_rows(part.of(evenly(len(part), int(share * len(part))))) for part in parts])
    if not len(naming) or len(rows) < n_clusters:
        why = "no validation image has a label to name clusters by" if not len(naming) else "there are too few images"
        found.left_out.append(f"no k-means beside the model: {why} in {data.path}")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct images than clusters
        method = KMeans(n_clusters, n_init=_STARTS, random_state=0).fit(rows)
    table = contingency_table(naming.labels, _predict(method, naming), n_classes, n_clusters)
    predicted = majority_map(table)[_predict(method, scored.images)]
    title, n = f"k-means on the {_seen(scored.images)}", (len(rows), available)
    basis = f"{_basis('training images', *n)}; {n_clusters} clusters named by validation images"
    found.scored.append(_compared("k_means", title, basis, predicted, scored, model, n))


def _compared(
    name: Literal["largest_class", "logistic_regression", "k_means"],
    title: str,
    basis: str,
    predicted: NDArray[Any],
    scored: Scored,
    model: TrainedModel,
    n: tuple[int, int] = (0, 0),
) -> Baseline:
    """Score a method's labels int64 [n] beside the model's; `n` are the images it learned from, and could have."""
    labels, n_classes = scored.images.labels, len(model.description.class_names)
    own, other = scored.predicted == labels, predicted == labels
    compared = compare_accuracy(other, own)
    ahead, by_chance = compared.gained > compared.lost, compared.p_value >= _SIGNIFICANT
    standing: Standing = "not better" if not ahead else "unclear" if by_chance else "better"
    return Baseline(
        name,
        title,
        basis,
        float(other.mean()),
        balanced_accuracy(contingency_table(labels, predicted, n_classes, n_classes)),
        *n,
        compared.p_value,
        standing,
        _verdict(title, standing, (float(own.mean()), float(other.mean())), compared.n, by_chance=by_chance),
    )


def _verdict(title: str, standing: Standing, accuracies: tuple[float, float], n: int, *, by_chance: bool) -> str:
    """Say in a sentence how a model stands beside a method, from the `accuracies` of both on `n` images."""
    how = {"better": "Better than", "unclear": "Not clearly better than", "not better": "Not better than"}[standing]
    own, other = accuracies
    chance = f"; on {n} images that difference may be chance" if by_chance and own != other else ""
    return f"{how} {title}: {percent(own)} against {percent(other)}{chance}."


def _labeled(split: Split) -> Split:
    return split.of(split.labels != UNLABELED)


def _seen(split: Split) -> str:
    return "pixels" if split.embeddings is None else "embeddings"


def _basis(what: str, n: int, available: int) -> str:
    return f"the same {n} {what}" if n == available else f"{n} of the same {available} {what}, to save time"


def _affordable(split: Split, cost: float) -> int:
    """Return how many images together have `cost` numbers, at least 1."""
    return max(int(cost // max(math.prod(split.compared.shape[1:]), 1)), 1)


def _predict(method: Any, split: Split) -> Integers:
    """Apply a fitted method to images, a part at a time, to keep memory low: int64 [n]."""
    parts = [split.of(np.arange(i, min(i + _PART, len(split)))) for i in range(0, len(split), _PART)]
    return np.concatenate([method.predict(_rows(part)) for part in parts])


def _rows(split: Split) -> Floats:
    """Return what the model sees of each image, float32 [n, F]: pixels in [0, 1], or embeddings."""
    compared = split.compared
    scale = np.float32(255 if compared.dtype == np.uint8 else 1)
    rows: Floats = compared.reshape(len(compared), math.prod(compared.shape[1:])).astype(np.float32) / scale
    return rows
