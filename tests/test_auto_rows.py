from __future__ import annotations

import pytest

from aae_toolkit.config import Variant
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows


def test_many_features_are_compared_by_direction() -> None:
    few, many = (choose_for_rows(RowFacts(500, n, 10), "semi_supervised")[0] for n in (256, 257))
    assert (few.consistency.likeness, many.consistency.likeness) == ("features", "directions")


@pytest.mark.parametrize("variant", ["semi_supervised", "unsupervised"])
def test_small_sets_are_passed_more_often_and_large_ones_a_few_times(variant: Variant) -> None:
    sizes = (20, 500, 5000, 10**6)
    epochs = [choose_for_rows(RowFacts(n, 8), variant)[0].training.n_epochs for n in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] == 8
    decays = [choose_for_rows(RowFacts(n, 8), variant)[0].training.ema_decay for n in sizes]
    assert decays == sorted(decays)
    assert max(decays) <= 0.999


def test_terms_that_need_rows_without_labels_are_off_without_any() -> None:
    some, none = (choose_for_rows(RowFacts(100, 4, n), "semi_supervised")[0] for n in (99, 100))
    assert some.consistency.blend_regression
    assert not none.consistency.is_on


@pytest.mark.parametrize("are_embeddings", [False, True])
def test_without_labels_a_clustering_comes_first(are_embeddings: bool) -> None:
    facts = RowFacts(300, 1280, are_embeddings=are_embeddings)
    assert choose_for_rows(facts, "unsupervised")[0].consistency.cluster_first


@pytest.mark.parametrize("n_samples", [2, 3, 5, 12])
def test_a_few_rows_have_fewer_neighbours_than_rows(n_samples: int) -> None:
    config, _ = choose_for_rows(RowFacts(n_samples, 4), "unsupervised")
    assert 1 <= config.consistency.n_neighbors <= max(1, n_samples // 2 - 1)


@pytest.mark.parametrize("variant", ["semi_supervised", "unsupervised"])
def test_each_choice_has_a_reason_from_the_facts(variant: Variant) -> None:
    reasons = [choice.reason for choice in choose_for_rows(RowFacts(569, 30, 10), variant)[1]]
    assert all(", since " in reason for reason in reasons)
    assert any("569 rows" in reason for reason in reasons)
    assert any("30 features" in reason for reason in reasons)


def test_embeddings_get_a_head_and_a_decoder_of_pictures() -> None:
    rows, embeddings = (
        choose_for_rows(RowFacts(300, 1280, 20, are_embeddings=are), "semi_supervised")[0] for are in (False, True)
    )
    assert (rows.model.standardize, rows.model.reconstruction) == (True, "gaussian")
    assert (embeddings.model.standardize, embeddings.model.reconstruction) == (False, "bernoulli")
    assert embeddings.training.n_epochs > rows.training.n_epochs
    assert embeddings.consistency.blend_regression


@pytest.mark.parametrize("variant", ["semi_supervised", "unsupervised"])
def test_pictures_do_not_bend_the_features_of_a_backbone(variant: Variant) -> None:
    rows, embeddings = (
        choose_for_rows(RowFacts(300, 1280, 20, are_embeddings=are), variant)[0].learning_rates for are in (False, True)
    )
    assert rows.auto_encoder_lr > 0
    assert embeddings.auto_encoder_lr == embeddings.generator_lr == 0  # of the encoder's hidden layers
    assert embeddings.style_lr == rows.style_lr  # of z and the decoder
