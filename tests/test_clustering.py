"""Tests of the first categories: groups that few links join, whatever their size."""

import warnings

import numpy as np
import pytest

from aae_toolkit.training.clustering import cluster


def groups(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of Gaussian groups far apart, float32 [N, 4], and the group of each."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = 20 * np.eye(4)[group % 4] * (1 + group // 4)[:, np.newaxis] + rng.normal(size=(len(group), 4))
    return rows.astype(np.float32), group


@pytest.mark.parametrize("sizes", [(40, 40), (120, 45, 50), (50, 50, 50, 50, 50, 50), (200, 45)])
def test_groups_far_apart_are_found(sizes: tuple[int, ...]) -> None:
    rows, group = groups(*sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cluster(rows, len(sizes))
    assert len(set(zip(group.tolist(), found.tolist(), strict=True))) == len(sizes)
    assert cluster(rows, len(sizes)).tolist() == found.tolist()


def test_groups_of_different_width_are_found() -> None:
    rng = np.random.default_rng(0)
    tight, wide = 0.05 * rng.normal(size=(60, 2)), [6, 0] + 1.5 * rng.normal(size=(60, 2))
    found = cluster(np.concatenate([tight, wide]).astype(np.float32), 2)
    assert abs(found[:60].mean() - found[60:].mean()) > 0.95


@pytest.mark.parametrize("n", [2, 3, 5])
def test_each_of_few_samples_is_a_category(n: int) -> None:
    assert cluster(groups(n)[0], 5).tolist() == list(range(n))


@pytest.mark.parametrize("n_categories", [2, 3])
def test_equal_samples_are_taken(n_categories: int) -> None:
    assert set(cluster(np.ones((50, 3), np.float32), n_categories)) <= set(range(n_categories))
