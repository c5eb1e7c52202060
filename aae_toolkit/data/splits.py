"""Stratified, seeded, disjoint splits of a source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.sources import Source
from aae_toolkit.data.split import SPLITS, UNLABELED, Split, SplitName
from aae_toolkit.errors import UsageError

Indices = NDArray[np.int64]


def draw_splits(
    source: Source, labeled: int | None, validation: int | None, test: int | None, seed: int
) -> dict[SplitName, Split]:
    """Draw every split of a source; what is given, such as its own test set, stays unchanged.

    Sizes and seed are those of `write_data_directory`.

    Raises:
        UsageError: the source has too few images for these sizes, or a size is asked for of a given split.
    """
    if test is not None and source.test_images is not None:
        raise UsageError(f"{source.name} brings its own test set of {len(source.test_images)} images; leave --test out")
    given: dict[str, Indices] = {}
    for name, asked, indices in (
        ("validation", validation, source.given_validation),
        ("test", test, source.given_test),
    ):
        if indices is not None:
            if asked is not None:
                raise UsageError(f"the {len(indices)} {name} images are given and kept as they are; leave --{name} out")
            given[name] = indices
    pool = np.setdiff1d(np.arange(len(source.labels)), np.concatenate([*given.values(), np.array([], np.int64)]))
    sizes = {
        "validation": source.default_validation if validation is None else validation,
        "test": 0 if source.test_images is not None else source.default_test if test is None else test,
    } | dict.fromkeys(given, 0)
    drawn = split_indices(
        source.labels[pool],
        source.default_labeled if labeled is None else labeled,
        sizes["validation"],
        sizes["test"],
        seed,
    )
    indices_of = {name: pool[indices] for name, indices in drawn.items()} | given
    splits = {name: Split(source.images[indices_of[name]], source.labels[indices_of[name]]) for name in SPLITS}
    splits["train_unlabeled"].labels[:] = UNLABELED
    if source.test_images is not None and source.test_labels is not None:
        splits["test"] = Split(source.test_images, source.test_labels)
    return splits


def split_indices(
    labels: NDArray[np.int64], n_labeled: int | None, n_validation: int, n_test: int, seed: int
) -> dict[str, Indices]:
    """Split a source into four disjoint sets.

    Validation and test sets keep the class frequencies of the labelled images; if no image has a label, they are drawn
    from all images. The labelled set is balanced over classes (100 images of 10 classes: 10 each), as is usual in the
    literature on label-efficient learning. All other images, labelled or not, are unlabelled training images.

    Args:
        labels: int64 [N], -1 where unknown.
        n_labeled: size of the labelled set, in images; None takes all remaining labelled images, 0 takes none.
        n_validation: size of the validation set, in images.
        n_test: size of the test set, in images; 0 if the source brings its own.
        seed: random seed; the same seed gives the same split.

    Returns:
        Ascending int64 indices into `labels` for `train_labeled`, `train_unlabeled`, `validation` and `test`.

    Raises:
        UsageError: the source has too few labelled images for these sizes.
    """
    rng = np.random.default_rng(seed)
    available = np.flatnonzero(labels != UNLABELED)
    if len(available) == 0 and not n_labeled:
        available, n_labeled = np.arange(len(labels)), 0  # no labels at all: draw the held-out sets from all images
    n_classes = len(np.unique(labels[available]))
    needed = n_classes if n_labeled is None else n_labeled
    if n_test + n_validation + needed > len(available):
        raise UsageError(
            f"{needed} labelled + {n_validation} validation + {n_test} test images requested;"
            f" the source has {len(available)} with a label"
        )
    if 0 < needed < n_classes:
        raise UsageError(f"--labeled {needed} is below the number of classes; give at least {n_classes}")
    reserved = _balanced(available, labels, min(needed, n_classes), rng)  # held-out sets leave one of each class
    test = _proportional(np.setdiff1d(available, reserved), labels, n_test, rng)
    available = np.setdiff1d(available, test)
    validation = _proportional(np.setdiff1d(available, reserved), labels, n_validation, rng)
    available = np.setdiff1d(available, validation)
    labeled = available if n_labeled is None else _balanced(available, labels, n_labeled, rng)
    used = np.concatenate([test, validation, labeled])
    unlabeled = np.setdiff1d(np.arange(len(labels)), used)
    return {"train_labeled": labeled, "train_unlabeled": unlabeled, "validation": validation, "test": test}


def _proportional(candidates: Indices, labels: NDArray[np.int64], n: int, rng: np.random.Generator) -> Indices:
    """Draw `n` of `candidates`, keeping their class frequencies, by largest remainders; a class may get none."""
    classes, counts = np.unique(labels[candidates], return_counts=True)
    if n == 0:
        return candidates[:0]
    exact = counts * (n / counts.sum())
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: n - quota.sum()]] += 1
    return _draw(candidates, labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), rng)


def _balanced(candidates: Indices, labels: NDArray[np.int64], n: int, rng: np.random.Generator) -> Indices:
    """Draw `n` of `candidates`, the same number of each class as far as possible."""
    classes, counts = np.unique(labels[candidates], return_counts=True)
    quota = np.zeros_like(counts)
    while (missing := n - int(quota.sum())) > 0:
        open_classes = rng.permutation(np.flatnonzero(quota < counts))
        share = max(1, missing // len(open_classes))
        quota[open_classes[:missing]] += np.minimum(share, (counts - quota)[open_classes[:missing]])
    return _draw(candidates, labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), rng)


def _draw(candidates: Indices, labels: NDArray[np.int64], quota: dict[int, int], rng: np.random.Generator) -> Indices:
    drawn = [rng.choice(candidates[labels[candidates] == c], size=k, replace=False) for c, k in quota.items()]
    return np.sort(np.concatenate([candidates[:0], *drawn]))
