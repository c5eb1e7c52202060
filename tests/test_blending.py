from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253

from aae_toolkit.training import blending
from aae_toolkit.training.blending import IMAGES, blend, taught
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
    y = blend(neighbors, [features[:196]], features[196:], labels, 2)
    regression = LogisticRegression().fit(features[-4:], labels)
    assert y.shape == (196, 2)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-5)
    assert (y.argmax(axis=1) == truth).mean() > regression.score(features[:196], truth)


def test_further_categories_have_no_probability_and_one_class_alone_spreads() -> None:
    neighbors, features, labels, _ = two_moons(3)
    parts = [features[:100], features[100:194]], features[194:]
    assert not blend(neighbors, *parts, labels, 4)[:, 2:].any()
    alone = blend(neighbors, *parts, np.zeros_like(labels), 2)
    assert set(alone.argmax(axis=1)) == {0}


def test_rows_that_no_label_reaches_take_the_regression_s_class() -> None:
    rows = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [0.05], [0.9]], np.float32)  # the last two are labelled
    neighbors = np.array([[1, 5], [0, 2], [1, 6], [4, 4], [3, 3], [0, 1], [2, 1]])
    y = blend(neighbors, [rows[:5]], rows[5:], np.array([0, 1]), 2)
    assert y[3:].argmax(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("n_labeled", [2, 40])
def test_all_are_labelled_by_what_both_say(n_labeled: int) -> None:
    neighbors, features, labels, truth = two_moons(n_labeled)
    n = len(truth)
    y = blend(neighbors, [features[:n]], features[n:], labels, 2)
    assert (y.argmax(axis=1) == truth).mean() > 0.85


def random_samples(n_categories: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours, features and labels of 500 samples; the last 100 are labelled."""
    rng = np.random.default_rng(0)
    neighbors = rng.integers(500, size=(500, 5))
    return neighbors, rng.normal(size=(500, 8)).astype(np.float32), rng.integers(n_categories, size=100)


def test_parts_of_samples_and_of_categories_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbors, features, labels = random_samples(20)
    monkeypatch.setattr(blending, "_COLUMNS", 20)
    whole = blend(neighbors, [features[:400]], features[400:], labels, 20, IMAGES)
    monkeypatch.setattr(blending, "_COLUMNS", 7)
    parts = (features[first : min(first + 150, 400)] for first in range(0, 400, 150))
    # Not to the bit: some processors sum the products of a part in another order.
    np.testing.assert_allclose(blend(neighbors, parts, features[400:], labels, 20, IMAGES), whole, rtol=1e-5)


def test_many_categories_are_blended_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbors, features, labels = random_samples(20)
    double = blend(neighbors, [features[:400]], features[400:], labels, 20)
    monkeypatch.setattr(blending, "_MANY", 10)
    single = blend(neighbors, [features[:400]], features[400:], labels, 20)
    assert not np.array_equal(single, double)
    np.testing.assert_allclose(single, double, atol=1e-5)


def test_a_regression_learns_from_evenly_chosen_samples_where_many_are_labelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert taught(5).tolist() == [0, 1, 2, 3, 4]
    neighbors, features, labels, truth = two_moons(40)
    monkeypatch.setattr(blending, "_TAUGHT", 21)
    chosen = taught(80)
    assert len(chosen) == 21
    assert (chosen[0], chosen[-1]) == (0, 79)
    n = len(truth)
    y = blend(neighbors, [features[:n]], features[n:][chosen], labels, 2)
    assert (y.argmax(axis=1) == truth).mean() > 0.85
