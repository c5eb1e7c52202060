"""Facts of a training set, on images whose facts are known."""

import numpy as np
import pytest

from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.split import Split
from aae_toolkit.training import facts as facts_module
from aae_toolkit.training.facts import ink, measure_facts, neighbors_kept


def bars(n: int, *, left: bool) -> np.ndarray:
    """Images [n, 1, 16, 16] of two kinds: an upright bar on the left or the right, or a lying one above or below."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20, (n, 1, 16, 16)).astype(np.uint8)
    for number, image in enumerate(images):
        at = rng.integers(1, 4) if left or number % 4 < 2 else rng.integers(10, 13)
        if number % 2:
            image[0, 2:14, at : at + 3] = 220
        else:
            image[0, at : at + 3, 2:14] = 220
    return images


def test_ink_is_the_share_of_pixels_that_differ_from_the_border_on_either_ground() -> None:
    images = np.zeros((4, 1, 20, 20), np.uint8)
    images[:, :, 5:15, 5:15] = 200
    assert ink(images) == pytest.approx(0.25)
    assert ink(255 - images) == pytest.approx(0.25)
    assert ink(np.full_like(images, 7)) == 0
    assert ink(np.repeat(images, 3, axis=1)) == pytest.approx(0.25)


def test_ink_of_many_images_is_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = bars(40, left=True)
    whole = ink(images)
    monkeypatch.setattr(facts_module, "_AT_ONCE", 7)
    assert ink(images) == whole


def test_a_mirror_that_moves_images_to_another_cluster_is_told_from_one_that_does_not() -> None:
    one_side, both_sides = neighbors_kept(bars(400, left=True), 2), neighbors_kept(bars(400, left=False), 4)
    assert set(one_side) == {"horizontal_flip", "vertical_flip", "quarter_turns"}
    assert one_side["quarter_turns"] < 0.8  # a turned upright bar is a lying one
    assert both_sides["quarter_turns"] < 0.8
    assert max(one_side.values()) <= 1.05


def test_few_and_oblong_images_have_fewer_facts() -> None:
    assert neighbors_kept(bars(8, left=True), 2) == {}
    assert set(neighbors_kept(bars(40, left=True)[:, :, :12], 2)) == {"horizontal_flip", "vertical_flip"}


def data(labels: list[int], n_validation: int = 0, *, as_float: bool = False) -> ArrayData:
    """Forty unlabelled images and some labelled ones of classes `a`, `b`."""
    images = bars(40 + len(labels), left=True)
    pictures = images.astype(np.float32) / 255 if as_float else images
    shares = np.array([0] * (3 * n_validation // 4) + [1] * (n_validation - 3 * n_validation // 4), dtype=np.int64)
    return ArrayData(
        {
            "train_labeled": Split(pictures[40:], np.array(labels, dtype=np.int64)),
            "train_unlabeled": Split(pictures[:40], np.full(40, -1)),
            "validation": Split(bars(n_validation, left=True), shares),
        },
        (1, 16, 16),
        ("a", "b"),
    )


def test_labels_of_the_rarest_class_and_shares_of_classes_are_counted() -> None:
    facts = measure_facts(data([0, 0, 0, 1], 80))
    assert (facts.n_images, facts.n_classes, facts.labels_per_class) == (40, 2, 1)
    assert facts.class_shares == (0.75, 0.25)
    assert measure_facts(data([0, 1], 8)).class_shares == ()  # too few labels to know
    assert measure_facts(data([0] * 60 + [1] * 40)).class_shares == (0.6, 0.4)  # the labelled images


def test_a_mostly_labelled_set_counts_all_its_images_as_training_does() -> None:
    assert measure_facts(data([0, 1] * 30)).n_images == 100


def test_images_between_0_and_1_have_the_same_facts_and_facts_do_not_change() -> None:
    assert measure_facts(data([0, 1])) == measure_facts(data([0, 1], as_float=True)) == measure_facts(data([0, 1]))
