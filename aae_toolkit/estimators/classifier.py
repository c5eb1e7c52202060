"""Semi-supervised classifier for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.estimators.base import DTYPES, AAEEstimator, flat
from aae_toolkit.estimators.labels import read_labels
from aae_toolkit.models.directory import TrainedModel


class SemiSupervisedAAEClassifier(ClassifierMixin, AAEEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier that learns from few labels and many unlabelled samples, which have y = -1 as in scikit-learn.

    `predict` and `classes_` give labels of the dtype of y, also after `load` and `load_classifier`:

    - integers and whole floats: -1 is no label; unsigned integers and bool cannot hold -1, so all samples have a label.
    - text (`<U6`, StringDType): all samples have a label, except for the missing values of a StringDType.
    - objects: labels of one type, returned as objects of that type; -1, None, pandas.NA, and NaN except among numbers
      are no label.
    - types of pandas: missing values are no label; labels have the type that numpy gives them without these.
    - lists: as objects, but labels have the type that numpy gives them without those that are none.

    Refused, since they cannot be kept or have two meanings: labels of several types, fractions, infinity, NaN among
    numbers, bytes, dates, tuples, and the texts "-1", "-1.0" and "nan", which numpy makes of -1 and NaN among words.
    Empty texts and texts that cannot be printed are refused too.

    Attributes:
        classes_: the labels, sorted.
        history_: mean of every loss term in each epoch.
        model_: the trained networks.
        n_features_in_: number of features of a sample.
    """

    _variant = "semi_supervised"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on samples X and labels y [n]; -1 marks a sample without a label.

        Raises:
            ValueError: there are fewer than two classes, y cannot be kept as it is, or scikit-learn refuses the arrays.
        """
        rows, sample_shape = flat(X)
        given = None if y is None else read_labels(y)
        rows, codes = validate_data(self, rows, given and given.codes, dtype=DTYPES, ensure_min_samples=2)
        assert given is not None  # scikit-learn has refused None
        self.classes_ = given.classes
        if len(self.classes_) < 2:
            found = "1 class" if len(self.classes_) else "0 classes, as no sample has a label"
            raise ValueError(f"y has {found}; a classifier needs two or more (-1 is no label)")
        return self._fit(rows, sample_shape, codes, self.classes_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the label of each sample, [n], from the likeliest category."""
        indices = self._labels(X)  # raises if nothing was fitted
        labels: NDArray[Any] = self.classes_[indices]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy on the samples that have a label; 0 if none has.

        Raises:
            ValueError: y is text and the classes are numbers, or the reverse, or lengths differ.
        """
        truth = read_labels(y)
        check_consistent_length(X, truth.codes, sample_weight)
        check_is_fitted(self)
        if not truth.known.any():
            return 0.0
        given, own = truth.classes.tolist()[0], self.classes_.tolist()[0]
        if isinstance(given, str) != isinstance(own, str):
            raise ValueError(f"y holds labels such as {given!r}, fit had such as {own!r}; give labels of the same type")
        codes = {label: code for code, label in enumerate(self.classes_.tolist())}
        expected = np.array([codes.get(label, UNLABELED) for label in truth.classes.tolist()])[truth.codes]
        weights = None if sample_weight is None else np.asarray(sample_weight)[truth.known]
        return float(np.average((self._labels(X) == expected)[truth.known], weights=weights))

    def _category(self, wanted: Any) -> int:
        labels = self.classes_.tolist()
        if wanted not in labels:
            raise ValueError(f"{wanted!r} is none of the classes {labels}")
        return self.model_.description.category_to_class.index(labels.index(wanted))

    def _take(self, model: TrainedModel) -> None:
        super()._take(model)
        assert model.description.arrays is not None
        self.classes_ = model.description.arrays.labels
