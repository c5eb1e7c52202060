"""Clusterer for scikit-learn."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.estimators.base import DTYPES, AAEEstimator, flat
from aae_toolkit.evaluation import Integers


class AAEClusterer(ClusterMixin, AAEEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Clusterer that finds categories without labels.

    Attributes:
        labels_: category of each sample of `fit`, int64 [n].
        history_: mean of every loss term in each epoch.
        model_: the trained networks.
        n_features_in_: number of features of a sample.
    """

    _variant = "unsupervised"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_epochs: int | None = None,
        z_size: int | None = None,
        hidden_size: int | None = None,
        encoder: str | None = None,
        batch_size: int | None = None,
        config: str | Path | Mapping[str, Any] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        precision: str | None = None,
        verbose: bool = False,
    ) -> None:
        """Keep the parameters.

        Args:
            n_clusters: number of categories to find.
            n_epochs: as in the classifier, like all that follow.
            z_size: see there.
            hidden_size: see there.
            encoder: see there.
            batch_size: see there.
            config: see there.
            image_shape: see there.
            random_state: see there.
            device: see there.
            precision: see there.
            verbose: see there.
        """
        super().__init__(
            n_epochs=n_epochs,
            z_size=z_size,
            hidden_size=hidden_size,
            encoder=encoder,
            batch_size=batch_size,
            config=config,
            image_shape=image_shape,
            random_state=random_state,
            device=device,
            precision=precision,
            verbose=verbose,
        )
        self.n_clusters = n_clusters

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find categories in X; y is ignored.

        Warns:
            ConvergenceWarning: fewer than half of the clusters are used.

        Raises:
            ValueError: `n_clusters` is below 1, or scikit-learn refuses the array.
        """
        if self.n_clusters < 1:
            raise ValueError(f"n_clusters={self.n_clusters}; ask for 1 or more")
        rows, sample_shape = flat(X)
        rows = validate_data(self, rows, dtype=DTYPES, ensure_min_samples=2)
        unlabeled = np.full(len(rows), UNLABELED, dtype=np.int64)
        self._fit(rows, sample_shape, unlabeled, n_categories=max(2, self.n_clusters))
        if self.n_clusters == 1:  # networks have two categories or more; both are this cluster
            description = self.model_.description
            update = {"category_to_class": (0, 0), "class_names": description.class_names[:1]}
            self._take(dataclasses.replace(self.model_, description=description.model_copy(update=update)))
        self.labels_ = self.predict(X)
        used, wanted = len(np.unique(self.labels_)), min(self.n_clusters, len(rows))
        if used < wanted / 2:
            warnings.warn(
                f"COLLAPSED: {used} of {self.n_clusters} clusters {'is' if used == 1 else 'are'} used; ask for"
                " fewer n_clusters, or train longer (n_epochs)",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: ArrayLike) -> Integers:
        """Predict the cluster of each sample, int64 [n]."""
        return self._labels(X)

    def _category(self, wanted: Any) -> int:
        n_clusters = len(self.model_.description.class_names)
        if wanted not in range(n_clusters):
            raise ValueError(f"{wanted!r} is none of the {n_clusters} clusters, which are numbered from 0")
        return int(wanted)
