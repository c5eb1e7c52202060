"""A semi-supervised classifier in scikit-learn's form."""

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
    """Classifies from few labels and many samples without one, for which y is -1, as in `sklearn.semi_supervised`.

    Attributes:
        classes_: the labels, sorted.
        history_: of each epoch, the mean of every loss term.
        model_: the trained networks.
        n_features_in_: numbers a sample.
    """

    _variant = "semi_supervised"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on samples X and labels y [n] of any kind, -1 where a sample has none.

        Raises:
            ValueError: fewer than two classes, or what scikit-learn refuses.
        """
        rows, sample_shape = flat(X)
        rows, given = validate_data(self, rows, y, dtype=DTYPES, ensure_min_samples=2)
        known = _is_labeled(given)
        found = np.array(given[known].tolist())  # of objects, what they are
        check_classification_targets(found)
        self.classes_, codes = np.unique(found, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has {len(self.classes_)} class; a classifier needs two or more (-1 is no label)")
        labels = np.full(len(given), UNLABELED, dtype=np.int64)
        labels[known] = codes
        return self._fit(rows, sample_shape, labels, self.classes_.tolist())

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The label of each sample, [n]: of the likeliest category."""
        found = self._labels(X)  # refuses where nothing was fitted
        labels: NDArray[Any] = self.classes_[found]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy on the samples that have a label; 0 where none has."""
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
    """Which labels are not -1; text never is."""
    if y.dtype.kind in "US":
        return np.ones(len(y), dtype=bool)
    labeled: NDArray[np.bool_] = (y != UNLABELED).astype(bool)
    return labeled
