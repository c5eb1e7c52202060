"""Objective of a search: the images that trials are scored on, and the score. The test split is never read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.config import SemiSupervisedConfig, VariantConfig
from aae_toolkit.data.arrays import ReplacedSplits, TrainingData
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split, SplitName, evenly, join_unlabeled
from aae_toolkit.errors import UsageError
from aae_toolkit.evaluation import Floats, Integers, contingency_table, fit_category_map
from aae_toolkit.training.naming import learned_map
from aae_toolkit.training.neighbors import nearest_neighbors

ENOUGH = 200  # validation labels: an accuracy of 90% then has a standard error of 2 percentage points
MOST_FOLDS = 5
PER_CATEGORY = 5  # validation labels a category, so that the map of the categories is not merely fitted to them
_MOST_AGREEING = 2000  # images whose neighbours are compared
_NEIGHBORS = 10

Correct = NDArray[np.bool_]
Classifier = Callable[[Floats, Integers], Integers]  # category probabilities [N, K] and labels [N] to classes [N]


@dataclass(frozen=True)
class Score:
    """Score of an epoch in [0, 1]; `correct` has an entry a scored image, and is None where it is no accuracy."""

    value: float
    correct: Correct | None


@dataclass(frozen=True)
class Objective:
    """Images and measure.

    Attributes:
        name: the score with its images, for people.
        n: number of scored images.
        sets: training data, whose validation images are scored; several where each is a fold.
        measure: score of the category probabilities [N, K] of each set's validation images.
    """

    name: str
    n: int
    sets: tuple[TrainingData, ...]
    measure: Callable[[Sequence[Floats]], Score]


def choose_objective(config: VariantConfig, data: TrainingData) -> Objective:
    """Choose the objective that the labels of a data directory allow.

    Raises:
        UsageError: there are too few labels to score a classifier.
    """
    validation = data.load_inputs("validation")
    n_validation = int((validation.labels != UNLABELED).sum())
    if not isinstance(config, SemiSupervisedConfig):
        n_categories = config.model.n_classes or len(data.class_names)
        if data.class_names and n_validation >= PER_CATEGORY * n_categories:
            return _on_validation(_clusters(n_categories, len(data.class_names)), validation, data)
        return _agreement(config, data, validation)
    labeled = data.load_inputs("train_labeled")
    smallest = int(np.unique(labeled.labels, return_counts=True)[1].min())
    if n_validation < 1 and smallest < 2:
        raise UsageError(
            f"{data.path} has a class with one labelled image and no labelled validation images; tuning needs"
            f" {ENOUGH} labelled validation images, or at least two labels for each class"
        )
    classify = ("accuracy", partial(_learned, n_classes=len(data.class_names)))
    if smallest < 2 or n_validation >= min(ENOUGH, len(labeled)):
        return _on_validation(classify, validation, data)
    return _on_folds(classify[1], labeled, data, min(MOST_FOLDS, smallest), config.training.seed)


def _on_validation(scored: tuple[str, Classifier], validation: Split, data: TrainingData) -> Objective:
    name, classify = scored
    n = int((validation.labels != UNLABELED).sum())
    return Objective(
        f"{name} on {n} validation images", n, (data,), partial(_accuracy, labels=[validation.labels], by=classify)
    )


def _on_folds(classify: Classifier, labeled: Split, data: TrainingData, n_folds: int, seed: int) -> Objective:
    """Score the labelled images by trainings that do not know their labels; the images stay, without labels."""
    from sklearn.model_selection import StratifiedKFold

    unlabeled, sets = data.load_inputs("train_unlabeled"), list[TrainingData]()
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed % 2**32)
    for kept, held_out in folds.split(labeled.labels, labeled.labels):
        splits: dict[SplitName, Split] = {
            "train_labeled": labeled.of(kept),
            "train_unlabeled": join_unlabeled(unlabeled, labeled.of(held_out)),
            "validation": labeled.of(held_out),
        }
        sets.append(ReplacedSplits(data, splits))
    labels = [fold.load_inputs("validation").labels for fold in sets]
    name = f"accuracy on {len(labeled)} labelled images in {n_folds} folds"
    return Objective(name, len(labeled), tuple(sets), partial(_accuracy, labels=labels, by=classify))


def _agreement(config: VariantConfig, data: TrainingData, validation: Split) -> Objective:
    """Score without labels: the categories of neighbours say much about each other, in equal shares."""
    scored, kind = validation, "validation"
    if len(scored) < ENOUGH:
        scored, kind = data.load_inputs("train_unlabeled"), "training"
    chosen = evenly(len(scored), _MOST_AGREEING)
    held_out, n = scored.of(chosen), len(chosen)
    if n <= _NEIGHBORS:
        raise UsageError(f"{data.path} has {n} {kind} images; tuning needs more than {_NEIGHBORS}")
    neighbors = nearest_neighbors(
        held_out.compared, _NEIGHBORS, torch.device("cpu"), likeness=config.consistency.likeness
    )
    sets: tuple[TrainingData] = (ReplacedSplits(data, {"validation": held_out}),)
    name = f"agreement of neighbours on {n} {kind} images"
    return Objective(name, n, sets, lambda codes: Score(mutual_information(codes[0], neighbors), None))


def _accuracy(codes: Sequence[Floats], *, labels: Sequence[Integers], by: Classifier) -> Score:
    """Pool the images of all folds."""
    parts = []
    for y, classes in zip(codes, labels, strict=True):
        known = classes != UNLABELED
        parts.append(by(y[known], classes[known]) == classes[known])
    correct = np.concatenate(parts)
    return Score(float(correct.mean()), correct)


def _learned(y: Floats, labels: Integers, *, n_classes: int) -> Integers:
    classes: Integers = np.array(learned_map(y, labels, n_classes))[y.argmax(axis=1)]
    return classes


def _clusters(n_categories: int, n_classes: int) -> tuple[str, Classifier]:
    if n_categories == n_classes:
        return "one-to-one accuracy", partial(_one_to_one, n_classes=n_classes)
    return "majority accuracy", lambda y, labels: np.array(fit_category_map(y, labels, n_classes))[y.argmax(axis=1)]


def _one_to_one(y: Floats, labels: Integers, *, n_classes: int) -> Integers:
    from scipy.optimize import linear_sum_assignment

    categories = y.argmax(axis=1)
    table = contingency_table(labels, categories, n_classes, n_classes)
    classes, assigned = linear_sum_assignment(table, maximize=True)
    class_of: Integers = np.empty(n_classes, dtype=np.int64)
    class_of[assigned] = classes
    predicted: Integers = class_of[categories]
    return predicted


def mutual_information(y: Floats, neighbors: Integers) -> float:
    """Compute the mutual information between the categories of neighbours, in units of its largest value, log K.

    It is 1 where neighbours always share a category and all K are equally frequent, and 0 where all images fall into
    one category or neighbours agree by chance alone (Ji et al., "Invariant Information Clustering", 2019, eq. 3).

    Args:
        y: category probabilities [N, K].
        neighbors: neighbours of each image, int64 [N, k].
    """
    categories, n_categories = y.argmax(axis=1), y.shape[1]
    joint = contingency_table(
        np.repeat(categories, neighbors.shape[1]), categories[neighbors].ravel(), n_categories, n_categories
    ).astype(np.float64)
    joint = (joint + joint.T) / (2 * joint.sum())
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    present = joint > 0
    nats = float((joint[present] * np.log(joint[present] / independent[present])).sum())
    return max(0.0, nats) / float(np.log(n_categories))
