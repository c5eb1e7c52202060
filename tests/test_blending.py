from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253

from aae_toolkit.training.blending import blend
from aae_toolkit.training.neighbors import nearest_neighbors


def two_moons(n_labeled: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two half circles, `n_labeled` points of each labelled: neighbours, features, labels, and the others' classes."""
    points, classes = make_moons(200, noise=0.05, random_state=0)
    unlabeled = np.concatenate([np.flatnonzero(classes == c)[n_labeled:] for c in (0, 1)])
    order = np.concatenate([unlabeled, *(np.flatnonzero(classes == c)[:n_labeled] for c in (0, 1))])
    points, classes = points[order], classes[order]
    features = ((points - points.mean(axis=0)) / points.std(axis=0)).astype(np.float32)
    images = ((points - points.min(axis=0)) / np.ptp(points, axis=0)).astype(np.float32).reshape(-1, 1, 1, 2)
    neighbors = nearest_neighbors(images, 5, torch.device("cpu"), likeness="features")
    return neighbors, features, classes[len(unlabeled) :], classes[: len(unlabeled)]


def test_with_few_labels_the_shape_of_the_data_counts() -> None:
    neighbors, features, labels, truth = two_moons(2)
    y = blend(neighbors, features, labels, 2)
    regression = LogisticRegression().fit(features[-4:], labels)
    assert y.shape == (196, 2)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-5)
    assert (y.argmax(axis=1) == truth).mean() > regression.score(features[:196], truth)


def test_further_categories_have_no_probability_and_one_class_alone_spreads() -> None:
    neighbors, features, labels, _ = two_moons(3)
    assert not blend(neighbors, features, labels, 4)[:, 2:].any()
    alone = blend(neighbors, features, np.zeros_like(labels), 2)
    assert set(alone.argmax(axis=1)) == {0}


def test_rows_that_no_label_reaches_take_the_regression_s_class() -> None:
    rows = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [0.05], [0.9]], np.float32)  # the last two are labelled
    neighbors = np.array([[1, 5], [0, 2], [1, 6], [4, 4], [3, 3], [0, 1], [2, 1]])
    y = blend(neighbors, rows, np.array([0, 1]), 2)
    assert y[3:].argmax(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("n_labeled", [2, 40])
def test_all_are_labelled_by_what_both_say(n_labeled: int) -> None:
    neighbors, features, labels, truth = two_moons(n_labeled)
    assert (blend(neighbors, features, labels, 2).argmax(axis=1) == truth).mean() > 0.85
