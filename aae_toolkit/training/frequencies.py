"""Frequencies of the classes among the labels, and what follows for the losses: weights and shares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aae_toolkit.config import SemiSupervisedConfig, VariantConfig
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.data.split import UNLABELED


class Frequencies(NamedTuple):
    """Weights and shares of the classes; None where the configuration treats them alike.

    Attributes:
        weights: weight of a label of each category, float32 [K]; its mean over the labels is 1.
        prior: share of each category, float32 [K]; all are above 0 and add up to 1.
    """

    weights: Tensor | None = None
    prior: Tensor | None = None


ALL_ALIKE = Frequencies()


def frequencies_of(data: TrainingData, config: VariantConfig, device: torch.device) -> Frequencies:
    """Compute what a configuration, fitted to the data, asks for; labels are read only if it asks for something.

    Raises:
        AaeError: the labelled images are unreadable.
    """
    if not isinstance(config, SemiSupervisedConfig):
        return ALL_ALIKE
    follow_labels = config.training.class_prior == "labels"
    if not (follow_labels or weighs_classes(config)):
        return ALL_ALIKE
    labels = data.load_inputs("train_labeled", mapped=True).labels
    counts = np.bincount(labels[labels != UNLABELED], minlength=config.model.n_classes or len(data.class_names))
    return Frequencies(
        weights=torch.from_numpy(balanced_weights(counts)).to(device) if weighs_classes(config) else None,
        prior=torch.from_numpy(smoothed_shares(counts)).to(device) if follow_labels else None,
    )


def weighs_classes(config: VariantConfig) -> bool:
    """Tell whether labels count by the weight of their class."""
    return isinstance(config, SemiSupervisedConfig) and config.training.class_weights == "balanced"


def balanced_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weigh classes by labels / (classes x labels of the class), as scikit-learn does; [K].

    Classes without labels do not count as classes; their weight is 1.

    Args:
        counts: labels of each class, int64 [K].
    """
    has_labels = counts > 0
    weights = counts.sum() / (has_labels.sum() * np.maximum(counts, 1))
    return np.where(has_labels, weights, 1.0).astype(np.float32)


def smoothed_shares(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Estimate the share of each class from counts int64 [K], with one label more of each, so that none is 0."""
    shares: NDArray[np.float32] = ((counts + 1) / (counts.sum() + len(counts))).astype(np.float32)
    return shares
