from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from aae_toolkit.data.splits import split_indices
from aae_toolkit.errors import UsageError

NAMES = ("train_labeled", "train_unlabeled", "validation", "test")
TEN_CLASSES = np.repeat(np.arange(10), 100)


@st.composite
def requests(draw):
    """Labels, some unknown, and sizes that they can fill."""
    labels = np.array(draw(st.lists(st.integers(-1, 4), max_size=60)), dtype=np.int64)
    known, n_classes = int((labels != -1).sum()), len(set(labels) - {-1})
    n_test = draw(st.integers(0, known - n_classes))
    n_validation = draw(st.integers(0, known - n_classes - n_test))
    exact = st.integers(n_classes, known - n_test - n_validation)
    return labels, draw(st.none() | exact), n_validation, n_test


def counts(labels, indices):
    return np.bincount(labels[indices], minlength=10)


def deviation(labels, drawn, candidates):
    """How far the classes of `drawn` are from the shares that they have among `candidates`, in images."""
    if not len(candidates):
        return 0.0
    return np.abs(counts(labels, drawn) - counts(labels, candidates) * (len(drawn) / len(candidates))).max()


@given(requests(), st.integers(0, 2**32))
def test_the_four_sets_are_disjoint_complete_and_of_the_sizes_asked_for(request, seed):
    labels, n_labeled, n_validation, n_test = request
    splits = split_indices(labels, n_labeled, n_validation, n_test, seed)
    assert tuple(splits) == NAMES
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(labels)))
    assert all(a < b for indices in splits.values() for a, b in pairwise(indices.tolist()))
    if n_labeled is None:
        n_labeled = (labels != -1).sum() - n_validation - n_test
    assert [len(splits[name]) for name in ("train_labeled", "validation", "test")] == [n_labeled, n_validation, n_test]


@given(requests(), st.integers(0, 2**32))
def test_images_without_a_label_are_only_ever_unlabelled(request, seed):
    labels = request[0]
    splits = split_indices(*request, seed)
    assert set(np.flatnonzero(labels == -1)) <= set(splits["train_unlabeled"])
    assert all((labels[splits[name]] != -1).all() for name in NAMES if name != "train_unlabeled")


@given(requests(), st.integers(0, 2**32))
def test_test_and_validation_keep_the_class_shares_to_within_two_images(request, seed):
    labels = request[0]
    splits = split_indices(*request, seed)
    known = np.flatnonzero(labels != -1)
    # one by rounding, one because each class keeps an image for training
    assert deviation(labels, splits["test"], known) < 2 + 1e-9
    assert deviation(labels, splits["validation"], np.setdiff1d(known, splits["test"])) < 2 + 1e-9


@given(requests(), st.integers(0, 2**32))
def test_a_class_has_fewer_labelled_images_than_another_only_where_it_has_no_more(request, seed):
    labels, n_labeled, *_ = request
    splits = split_indices(*request, seed)
    drawn = counts(labels, splits["train_labeled"])
    left = counts(labels, splits["train_unlabeled"][labels[splits["train_unlabeled"]] != -1])
    if n_labeled is None:
        assert not left.any()
    else:
        assert (drawn[left > 0] >= drawn.max() - 1).all()


@given(requests(), st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_split(request, seed):
    first, second = (split_indices(*request, seed) for _ in range(2))
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name])


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_another_seed_gives_another_split(seed, other):
    first, second = (split_indices(TEN_CLASSES, 100, 200, 300, s) for s in (seed, other))
    for name in NAMES:
        assert np.array_equal(first[name], second[name]) == (seed == other)


@pytest.mark.parametrize(("n_labeled", "each"), [(10, 10 * [1]), (100, 10 * [10]), (105, 5 * [10] + 5 * [11])])
def test_the_labelled_set_is_balanced(n_labeled, each):
    labels = np.repeat(np.arange(10), np.arange(60, 160, 10))
    assert sorted(counts(labels, split_indices(labels, n_labeled, 50, 50, 0)["train_labeled"])) == each


@pytest.mark.parametrize(
    ("sizes", "n_labeled", "expected"),
    [
        ((3, 50, 50), 30, (3, 13, 14)),
        ((3, 5, 50), 30, (3, 5, 22)),
        ((1, 1, 50), 3, (1, 1, 1)),
        ((4, 4, 4), 12, (4, 4, 4)),
    ],
)
def test_where_a_class_has_too_few_images_the_others_fill_the_labelled_set(sizes, n_labeled, expected):
    labels = np.repeat(np.arange(3), sizes)
    splits = split_indices(labels, n_labeled, 0, 0, 0)
    assert tuple(sorted(np.bincount(labels[splits["train_labeled"]]).tolist())) == expected


def test_the_draw_is_not_the_first_images_of_each_class():
    splits = split_indices(TEN_CLASSES, 100, 0, 0, 0)
    assert (splits["train_labeled"] % 100).max() > 50


def test_without_labels_everything_is_unlabelled():
    for n_labeled in (None, 0):
        splits = split_indices(np.full(7, -1), n_labeled, 0, 0, 0)
        assert [len(splits[name]) for name in NAMES] == [0, 7, 0, 0]


@pytest.mark.parametrize(
    ("n_labeled", "n_validation", "n_test"),
    [(1001, 0, 0), (None, 1001, 0), (None, 0, 1001), (10, 500, 491), (None, 501, 500), (10**12, 0, 0)],
)
def test_sizes_that_the_source_cannot_fill_are_refused_with_what_it_has(n_labeled, n_validation, n_test):
    labels = np.concatenate([TEN_CLASSES, np.full(5000, -1)])
    with refused(
        f"{n_labeled or 10} labelled", f"{n_validation} validation", f"{n_test} test", "1000", kind=UsageError
    ):
        split_indices(labels, n_labeled, n_validation, n_test, 0)


@pytest.mark.parametrize("n_labeled", [1, 9])
def test_fewer_labels_than_classes_are_refused(n_labeled):
    with refused(f"--labeled {n_labeled}", "at least 10", kind=UsageError):
        split_indices(TEN_CLASSES, n_labeled, 100, 100, 0)


@pytest.mark.parametrize("n_labeled", [None, 4])
def test_held_out_sets_do_not_use_up_a_class(n_labeled: int | None) -> None:
    labels = np.array([0] * 20 + [1, 2, 3] * 2)
    found = split_indices(labels, n_labeled, 10, 10, seed=0)
    assert set(labels[found["train_labeled"]]) == {0, 1, 2, 3}


def test_a_labelled_set_of_zero_is_for_unsupervised_training_alone() -> None:
    found = split_indices(np.arange(40) % 4, 0, 8, 8, seed=0)
    assert {name: len(indices) for name, indices in found.items()} == {
        "train_labeled": 0,
        "train_unlabeled": 24,
        "validation": 8,
        "test": 8,
    }
