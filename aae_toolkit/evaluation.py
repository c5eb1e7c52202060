"""Evaluation of a classifier: accuracy, clustering scores, and the category -> class map that names categories.

Sources: the seed document, section 7.2 (majority accuracy); Kuhn, 1955, through scipy (Hungarian accuracy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split, SplitName
from aae_toolkit.errors import AaeError
from aae_toolkit.models.classes import match_classes
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import Encoder, ImageEncoder, scale

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_BATCH_SIZE = 1000  # images a forward pass
_BACKBONE_BATCH_SIZE = 8  # images a forward pass through a backbone


@torch.inference_mode()
def encode(encoder: Encoder | ImageEncoder, inputs: NDArray[Any]) -> tuple[Floats, Floats]:
    """Encode in eval mode: `y` float32 [N, K] (probabilities) and `z` float32 [N, Z].

    Args:
        encoder: the encoder.
        inputs: images uint8 [N, C, H, W], or embeddings [N, 1 + V, F], whose views do not count.
    """
    training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    taken = torch.from_numpy(inputs if inputs.ndim == 4 else np.ascontiguousarray(inputs[:, 0]))
    size = _BACKBONE_BATCH_SIZE if isinstance(encoder, ImageEncoder) else _BATCH_SIZE
    codes = [encoder(scale(chunk.to(device))) for chunk in torch.split(taken, size)]
    encoder.train(training)
    y = torch.cat([y_logits.softmax(dim=1) for y_logits, _ in codes])
    return y.cpu().numpy(), torch.cat([z for _, z in codes]).cpu().numpy()


def load_for(model: TrainedModel, data: DataDirectory, name: SplitName) -> Split:
    """Read a split: stored embeddings where they are of the model's own backbone, else the images.

    Its labels are the model's class indices; images of classes that the model does not know have none.

    Raises:
        AaeError: a file is absent or damaged, or no class of the data is the model's.
    """
    match = match_classes(model.description.class_names, data.class_names)
    own = model.architecture.backbone
    return match.relabel(data.load_inputs(name) if own is not None and own == data.backbone else data.load(name))


def unknown_classes(model: TrainedModel, data: DataDirectory, name: SplitName) -> dict[str, int]:
    """Count the images of a split by classes that the model does not know."""
    counts = data.index.splits[name].class_counts
    return {c: n for c, n in counts.items() if n and c not in model.description.class_names}


def encode_split(model: TrainedModel, split: Split) -> tuple[Floats, Floats]:
    """Encode a split by its embeddings, or else its images: `y` float32 [N, K] and `z` float32 [N, Z].

    Raises:
        AaeError: the split has another image shape than the model.
    """
    if split.embeddings is None:
        model.description.require_image_shape(split.images.shape[1:])
        return encode(model.image_encoder, split.images)
    return encode(model.encoder, split.embeddings)


def contingency_table(labels: Integers, categories: Integers, n_classes: int, n_categories: int) -> Integers:
    """Count images by true class and predicted category, int64 [n_classes, n_categories]."""
    table = np.zeros((n_classes, n_categories), dtype=np.int64)
    np.add.at(table, (labels, categories), 1)
    return table


def majority_map(table: Integers) -> Integers:
    """Find the most frequent true class of each category, int64 [K]; the seed's matching."""
    classes: Integers = table.argmax(axis=0)
    return classes


def fit_category_map(y: Floats, labels: Integers, n_classes: int) -> tuple[int, ...]:
    """Map every category to its most frequent true class, or to that of most probability if it is never predicted.

    Args:
        y: category probabilities [N, K].
        labels: true classes int64 [N]; images with -1 are left out.
        n_classes: number of classes.

    Returns:
        The class of each category, K numbers.
    """
    known = labels != UNLABELED
    y, labels = y[known], labels[known]
    table = contingency_table(labels, y.argmax(axis=1), n_classes, y.shape[1])
    mass = np.eye(n_classes, dtype=np.float32)[labels].T @ y  # [n_classes, K]
    classes = np.where(table.sum(axis=0) > 0, majority_map(table), mass.argmax(axis=0))
    return tuple(int(c) for c in classes)


@dataclass(frozen=True)
class ClassReport:
    """Scores of one true class: accuracy on its `n` images, and the category with most of them and its share."""

    class_name: str
    n: int
    accuracy: float | None
    best_category: int | None
    share_in_best_category: float | None


@dataclass(frozen=True)
class Evaluation:
    """Scores over one split; accuracies and F1 are fractions in [0, 1].

    `accuracy` is the accuracy of the label, under the stored category -> class map. `majority_accuracy` refits that map
    on the scored images, as the seed does. `hungarian_accuracy` uses a one-to-one map; it is None where K is not the
    number of classes. `confusion[i][j]` counts images of class i labelled j. `balanced_accuracy` and `macro_f1` are
    those of this table, in which a rare class counts as much as a frequent one. `missing_classes` have no image, and
    images of `unknown_classes`, which the model does not know, were not scored.
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

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae evaluate --json` prints."""
        return asdict(self)


def evaluate(
    model: TrainedModel, split: Split, split_name: SplitName, *, unknown: Mapping[str, int] | None = None
) -> Evaluation:
    """Score a trained model on the labelled images of a split.

    Args:
        model: the trained model.
        split: images with the model's class indices, as `load_for` gives them.
        split_name: name of the split.
        unknown: counts of `unknown_classes`, for the result.

    Raises:
        AaeError: the split has no labels, another image shape than the model, or more classes.
    """
    description = model.description
    if split.embeddings is None:
        description.require_image_shape(split.images.shape[1:])
    known = split.labels != UNLABELED
    if not known.any():
        of = " of the model's classes" if unknown else ""
        raise AaeError(f"the {split_name} split has no labels{of} to compare with")
    labels = split.labels[known]
    n_classes = len(description.class_names)
    if labels.max() >= n_classes:
        raise AaeError(f"the data has class index {labels.max()}, the model knows {n_classes} classes")
    y, _ = encode_split(model, split.of(known))
    names = description.class_names
    scored = score(y, labels, description.category_to_class, names, description.variant, split_name)
    return replace(scored, unknown_classes=dict(unknown or {}))


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
        per_class=[
            _class_report(name, row, predicted[labels == c] == c)
            for c, (name, row) in enumerate(zip(class_names, table, strict=True))
        ],
        confusion=confusion.tolist(),
        never_predicted_categories=np.flatnonzero(table.sum(axis=0) == 0).tolist(),
        missing_classes=[class_names[c] for c in np.flatnonzero(table.sum(axis=1) == 0)],
    )


def majority_accuracy(table: Integers) -> float:
    """Compute the share of images whose true class is the most frequent one of their category."""
    return float(table.max(axis=0).sum() / table.sum())


def balanced_accuracy(confusion: Integers) -> float:
    """Compute the mean, over the classes that have images, of the share of their images that are labelled right.

    Args:
        confusion: number of images by true class and label given, int64 [n_classes, n_classes].
    """
    n = confusion.sum(axis=1)
    return float((confusion.diagonal()[n > 0] / n[n > 0]).mean())


def macro_f1(confusion: Integers) -> float:
    """Compute the mean F1 of the classes that have images or were given as a label; `confusion` as above."""
    n = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * confusion.diagonal()[n > 0] / n[n > 0]).mean())


def _class_report(name: str, counts: Integers, correct: NDArray[np.bool_]) -> ClassReport:
    n = int(counts.sum())
    if n == 0:
        return ClassReport(name, 0, None, None, None)
    best = int(counts.argmax())
    return ClassReport(name, n, float(correct.mean()), best, float(counts[best] / n))
