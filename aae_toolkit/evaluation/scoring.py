"""Evaluation of a classifier: accuracies, clustering scores, and scores by class and by category.

Source: Kuhn, 1955, through scipy (Hungarian accuracy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import UNLABELED, Split, SplitName
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation.baselines import Baseline, Scored, score_baselines
from aae_toolkit.evaluation.encoding import encode_split
from aae_toolkit.evaluation.tables import (
    Floats,
    Integers,
    balanced_accuracy,
    contingency_table,
    macro_f1,
    majority_accuracy,
)

if TYPE_CHECKING:
    from aae_toolkit.models.directory import TrainedModel


@dataclass(frozen=True)
class ClassReport:
    """Scores of one true class.

    Attributes:
        class_name: its name.
        n: number of its images.
        accuracy: share of them that are labelled right.
        best_category: category with most of them, whatever class that category stands for.
        share_in_best_category: share of them in that category.
        confused_with: wrong label that most of them have; None if all are labelled right.
        n_confused: number of them with that label.
    """

    class_name: str
    n: int
    accuracy: float | None
    best_category: int | None
    share_in_best_category: float | None
    confused_with: str | None = None
    n_confused: int = 0


@dataclass(frozen=True)
class CategoryReport:
    """Scores of one category.

    Attributes:
        category: its index.
        class_name: class that it stands for.
        n: number of images in it.
        accuracy: share of them that are of this class; None if it has no image.
    """

    category: int
    class_name: str
    n: int
    accuracy: float | None


@dataclass(frozen=True)
class Evaluation:
    """Scores over one split; accuracies and F1 are fractions in [0, 1].

    `accuracy` is the accuracy of the label, under the stored category -> class map. `majority_accuracy` refits that map
    on the scored images, as the seed does. `hungarian_accuracy` uses a one-to-one map; it is None where K is not the
    number of classes. `confusion[i][j]` counts images of class i labelled j. `balanced_accuracy` and `macro_f1` are
    those of this table, in which a rare class counts as much as a frequent one. `missing_classes` have no image, and
    images of `unknown_classes`, which the model does not know, were not scored. `baselines` are simple methods on the
    same images, and `no_baselines` says why one is not there.
    """

    variant: Variant
    split: SplitName
    n: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    majority_accuracy: float
    hungarian_accuracy: float | None
    nmi: float
    ari: float
    per_class: list[ClassReport]
    confusion: list[list[int]]
    never_predicted_categories: list[int]
    missing_classes: list[str] = field(default_factory=list)
    unknown_classes: dict[str, int] = field(default_factory=dict)
    per_category: list[CategoryReport] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    no_baselines: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae evaluate --json` prints."""
        return asdict(self)


def evaluate(
    model: TrainedModel,
    split: Split,
    split_name: SplitName,
    *,
    unknown: Mapping[str, int] | None = None,
    data: DataDirectory | None = None,
) -> Evaluation:
    """Score a trained model on the labelled images of a split.

    Args:
        model: the trained model.
        split: images with the model's class indices, as `load_for` gives them.
        split_name: name of the split.
        unknown: counts of `unknown_classes`, for the result.
        data: data directory of the split, to score baselines that learn from its training images; None: no baselines.

    Raises:
        AaeError: the split has no labels, another image shape than the model, or more classes.
    """
    description = model.description
    if split.embeddings is None:
        description.require_image_shape(split.images.shape[1:])
    known = split.labels != UNLABELED
    if not known.any():
        of = " of the model's classes" if unknown else ""
        raise AaeError(f"the {split_name} split has no labels{of} to compare with; aae visualize draws its categories")
    scored = split.of(known)
    names = description.class_names
    if scored.labels.max() >= len(names):
        raise AaeError(f"the data has class index {scored.labels.max()}, the model knows {len(names)} classes")
    y, _ = encode_split(model, scored)
    mapping = description.category_to_class
    evaluation = score(y, scored.labels, mapping, names, description.variant, split_name)
    evaluation = replace(evaluation, unknown_classes=dict(unknown or {}))
    if data is None:
        return evaluation
    predicted = np.array(mapping)[y.argmax(axis=1)]
    found = score_baselines(model, data, Scored(scored, split_name, predicted))
    return replace(evaluation, baselines=found.scored, no_baselines=found.left_out)


def score(
    y: Floats,
    labels: Integers,
    category_to_class: tuple[int, ...],
    class_names: tuple[str, ...],
    variant: Variant,
    split_name: SplitName,
) -> Evaluation:
    """Score category probabilities y [N, K] against true classes int64 [N]."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import (
        adjusted_rand_score,
        confusion_matrix,
        normalized_mutual_info_score,
    )

    n, n_categories = y.shape
    n_classes = len(class_names)
    categories = y.argmax(axis=1)
    predicted = np.array(category_to_class)[categories]
    table = contingency_table(labels, categories, n_classes, n_categories)
    confusion = confusion_matrix(labels, predicted, labels=range(n_classes))
    hungarian = None
    if n_categories == n_classes:
        hungarian = float(table[linear_sum_assignment(table, maximize=True)].sum() / n)
    return Evaluation(
        variant=variant,
        split=split_name,
        n=n,
        accuracy=float((predicted == labels).mean()),
        balanced_accuracy=balanced_accuracy(confusion),
        macro_f1=macro_f1(confusion),
        majority_accuracy=majority_accuracy(table),
        hungarian_accuracy=hungarian,
        nmi=float(normalized_mutual_info_score(labels, categories)),
        ari=float(adjusted_rand_score(labels, categories)),
        per_class=[_class_report(c, counts, confusion[c], class_names) for c, counts in enumerate(table)],
        confusion=confusion.tolist(),
        never_predicted_categories=np.flatnonzero(table.sum(axis=0) == 0).tolist(),
        missing_classes=[class_names[c] for c in np.flatnonzero(table.sum(axis=1) == 0)],
        per_category=[_category_report(k, c, table[:, k], class_names) for k, c in enumerate(category_to_class)],
    )


def _class_report(c: int, counts: Integers, labeled: Integers, names: tuple[str, ...]) -> ClassReport:
    """Report on class `c` from its images by category, [K], and by label given, [n_classes]."""
    n = int(counts.sum())
    if n == 0:
        return ClassReport(names[c], 0, None, None, None)
    best = int(counts.argmax())
    wrong = np.where(np.arange(len(names)) == c, 0, labeled)
    other, n_other = int(wrong.argmax()), int(wrong.max())
    confused = names[other] if n_other else None
    return ClassReport(names[c], n, float(labeled[c] / n), best, float(counts[best] / n), confused, n_other)


def _category_report(k: int, c: int, counts: Integers, names: tuple[str, ...]) -> CategoryReport:
    """Report on category `k`, which stands for class `c`, from its images by true class, [n_classes]."""
    n = int(counts.sum())
    return CategoryReport(k, names[c], n, float(counts[c] / n) if n else None)
