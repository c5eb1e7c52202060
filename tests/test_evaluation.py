import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score  # noqa: TID253

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import contingency_table, encode, evaluate, fit_category_map, majority_accuracy, score
from aae_toolkit.models.directory import load_model


def one_hot(categories: list[int], n_categories: int) -> np.ndarray:
    return np.eye(n_categories, dtype=np.float32)[categories]


def scored(categories: list[int], labels: list[int], mapping: tuple[int, ...], n_classes: int):
    names = tuple(f"c{i}" for i in range(n_classes))
    y = one_hot(categories, len(mapping))
    return score(y, np.array(labels), mapping, names, "unsupervised", "test")


def test_majority_accuracy_is_the_seeds_example() -> None:
    """Category 3 holds 1000 images, 75% of class 4 and 25% of class 6: the sixes are errors."""
    labels = np.array([4] * 750 + [6] * 250)
    table = contingency_table(labels, np.full(1000, 3), 10, 10)
    assert majority_accuracy(table) == 0.75
    assert fit_category_map(one_hot([3] * 1000, 10), labels, 10)[3] == 4


def test_a_category_never_predicted_takes_the_class_with_most_of_its_probability() -> None:
    y = np.array([[0.9, 0.1, 0.0], [0.6, 0.0, 0.4], [0.9, 0.0, 0.1]], dtype=np.float32)
    assert fit_category_map(y, np.array([0, 1, 0]), 2) == (0, 0, 1)


def test_images_without_a_label_have_no_part_in_the_map() -> None:
    y = one_hot([0, 0, 0, 1], 2)
    assert fit_category_map(y, np.array([1, -1, -1, 0]), 2) == (1, 0)


def test_accuracy_uses_the_stored_map_and_majority_accuracy_refits_it() -> None:
    evaluation = scored([0, 0, 1, 1], [0, 0, 1, 1], (1, 0), 2)
    assert evaluation.accuracy == 0
    assert evaluation.majority_accuracy == 1
    assert evaluation.hungarian_accuracy == 1
    assert evaluation.confusion == [[0, 2], [2, 0]]


def test_hungarian_accuracy_is_one_to_one_and_only_where_categories_are_as_many_as_classes() -> None:
    evaluation = scored([0, 0, 1, 1], [0, 0, 0, 1], (0, 0), 2)
    assert evaluation.majority_accuracy == 0.75
    assert scored([0, 0, 1, 2], [0, 0, 0, 1], (0, 0, 1), 2).hungarian_accuracy is None
    assert scored([0, 1, 0, 1], [0, 0, 0, 0], (0, 0), 2).majority_accuracy == 1
    assert scored([0, 1, 0, 1], [0, 0, 0, 0], (0, 0), 2).hungarian_accuracy == 0.5


def test_never_predicted_categories_and_absent_classes_are_named_not_swallowed() -> None:
    evaluation = scored([0, 0, 2], [0, 0, 1], (0, 1, 1, 0), 3)
    assert evaluation.never_predicted_categories == [1, 3]
    absent = evaluation.per_class[2]
    assert (absent.n, absent.accuracy, absent.best_category) == (0, None, None)
    assert evaluation.per_class[0].share_in_best_category == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60), st.permutations(range(4)))
def test_clustering_scores_do_not_depend_on_the_names_of_categories(pairs: list, order: list[int]) -> None:
    categories, labels = [c for c, _ in pairs], [t for _, t in pairs]
    a = scored(categories, labels, (0, 1, 2, 3), 4)
    b = scored([order[c] for c in categories], labels, (0, 1, 2, 3), 4)
    assert a.majority_accuracy == b.majority_accuracy
    assert a.hungarian_accuracy == pytest.approx(b.hungarian_accuracy)
    assert a.nmi == pytest.approx(b.nmi)
    assert a.ari == pytest.approx(b.ari)
    assert a.hungarian_accuracy <= a.majority_accuracy + 1e-12


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_balanced_accuracy_and_macro_f1_are_scikit_learn_s(pairs: list) -> None:
    """Classes may be absent from the labels, from the predictions, or from both."""
    predicted, labels = [c for c, _ in pairs], [t for _, t in pairs]
    evaluation = scored(predicted, labels, (0, 1, 2, 3, 4, 5), 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predictions of absent classes
        assert evaluation.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert evaluation.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    evaluation = scored([0] * 100, [0] * 98 + [1] * 2, (0, 1), 2)
    assert (evaluation.accuracy, evaluation.balanced_accuracy) == (0.98, 0.5)
    assert evaluation.macro_f1 == pytest.approx((2 * 98 / 198 + 0) / 2)
    assert {"balanced_accuracy", "macro_f1"} <= evaluation.to_json().keys()


def test_encoding_leaves_mode_and_statistics_of_the_encoder_as_they_were(model_dir, data_dir) -> None:
    encoder = load_model(model_dir).encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.train()
    encode(encoder, DataDirectory(data_dir).load("validation").images)
    assert encoder.training
    assert all((before[k] == v).all() for k, v in encoder.state_dict().items())


def test_a_trained_model_is_scored_on_the_split_that_is_named(model_dir, data_dir, variant) -> None:
    evaluation = evaluate(load_model(model_dir), DataDirectory(data_dir).load("test"), "test")
    assert (evaluation.variant, evaluation.split, evaluation.n) == (variant, "test", 60)
    assert np.sum(evaluation.confusion) == 60
    assert np.trace(evaluation.confusion) / 60 == pytest.approx(evaluation.accuracy)
    required = {"variant", "split", "n", "accuracy", "majority_accuracy", "hungarian_accuracy", "nmi", "ari"}
    assert required | {"per_class", "confusion"} <= evaluation.to_json().keys()


def test_what_cannot_be_scored_is_said(model_dir, data_dir) -> None:
    model, split = load_model(model_dir), DataDirectory(data_dir).load("test")
    for broken, message in (
        (Split(split.images, np.full_like(split.labels, -1)), "no labels to compare with"),
        (Split(split.images[:, :, :3], split.labels), r"takes images \(1, 6, 6\), the data's are \(1, 3, 6\)"),
        (Split(split.images, split.labels + 7), "class index 9, the model knows 3 classes"),
    ):
        with pytest.raises(AaeError, match=message):
            evaluate(model, broken, "test")
