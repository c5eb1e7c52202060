"""Semi-supervised classifier for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.estimators.base import DTYPES, AAEEstimator, flat
from aae_toolkit.models.directory import TrainedModel


class SemiSupervisedAAEClassifier(ClassifierMixin, AAEEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier that learns from few labels and many unlabelled samples, which have y = -1 as in scikit-learn.

    Attributes:
        classes_: the labels, sorted.
        history_: mean of every loss term in each epoch.
        model_: the trained networks.
        n_features_in_: number of features of a sample.
    """

    _variant = "semi_supervised"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on samples X and labels y [n] of any type; -1 marks a sample without a label.

        Raises:
            ValueError: there are fewer than two classes, or scikit-learn refuses the arrays.
        """
        rows, sample_shape = flat(X)
        rows, given = validate_data(self, rows, y, dtype=DTYPES, ensure_min_samples=2)
        known = _is_labeled(given)
        targets = np.array(given[known].tolist())  # an array of objects becomes one of their own type
        check_classification_targets(targets)
        self.classes_, codes = np.unique(targets, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has {len(self.classes_)} class; a classifier needs two or more (-1 is no label)")
        labels = np.full(len(given), UNLABELED, dtype=np.int64)
        labels[known] = codes
        return self._fit(rows, sample_shape, labels, self.classes_.tolist())

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the label of each sample, [n], from the likeliest category."""
        indices = self._labels(X)  # raises if nothing was fitted
        labels: NDArray[Any] = self.classes_[indices]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy on the samples that have a label; 0 if none has."""
        truth = np.asarray(y)
        known = _is_labeled(truth)
        if not known.any():
            return 0.0
        weights = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(np.average((self.predict(X) == truth)[known], weights=weights))

    def _category(self, wanted: Any) -> int:
        labels = self.classes_.tolist()
        if wanted not in labels:
            raise ValueError(f"{wanted!r} is none of the classes {labels}")
        return self.model_.description.category_to_class.index(labels.index(wanted))

    def _take(self, model: TrainedModel) -> None:
        super()._take(model)
        assert model.description.arrays is not None
        self.classes_ = np.array(model.description.arrays.classes)


def _is_labeled(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which labels are not -1, bool [n]; text labels never are -1."""
    if y.dtype.kind in "US":
        return np.ones(len(y), dtype=bool)
    labeled: NDArray[np.bool_] = (y != UNLABELED).astype(bool)
    return labeled
