"""The `auto` configuration: its rules, by facts that are made up."""

from dataclasses import replace
from typing import Any

import pytest

from aae_toolkit.config import VARIANTS, SemiSupervisedConfig, UnsupervisedConfig, dump_config
from aae_toolkit.config.auto import Facts, choose

GREY = Facts(image_shape=(1, 28, 28), n_images=50_000, n_classes=10, labels_per_class=10, ink=0.15)
PHOTOS = Facts(image_shape=(3, 64, 64), n_images=223, n_classes=5, labels_per_class=10, ink=0.6)


def chosen(facts: Facts, variant: Any = "semi_supervised", **changes: Any) -> Any:
    return choose(replace(facts, **changes), variant)[0]


def test_each_variant_has_its_section_and_every_choice_a_reason_on_one_line() -> None:
    for variant, kind in (("semi_supervised", SemiSupervisedConfig), ("unsupervised", UnsupervisedConfig)):
        config, reasons = choose(GREY, variant)  # type: ignore[arg-type]
        assert isinstance(config, kind)
        assert [reason.split(":")[0] for reason in reasons] == ["network", "augmentation", "length", "terms"]
        assert not any("\n" in reason for reason in reasons)


def test_the_same_facts_give_the_same_configuration() -> None:
    assert dump_config(chosen(PHOTOS)) == dump_config(chosen(PHOTOS))


@pytest.mark.parametrize(
    ("side", "encoder", "stages"), [(7, "mlp", None), (8, "conv", 3), (28, "conv", 3), (47, "conv", 3), (48, "conv", 4)]
)
def test_the_network_follows_the_shorter_side(side: int, encoder: str, stages: int | None) -> None:
    model = chosen(GREY, image_shape=(1, side, side + 5)).model
    assert model.encoder == encoder
    if stages:
        assert len(model.conv_channels) == stages
        assert model.early_pool == (side >= 48)


def test_lines_are_bent_and_filled_shapes_are_not() -> None:
    lines, shapes, tiny = chosen(GREY), chosen(GREY, ink=0.5), chosen(GREY, image_shape=(1, 8, 8), ink=0.5)
    assert lines.consistency.elastic > 0 == lines.consistency.erasing
    assert shapes.consistency.elastic == 0 < shapes.consistency.erasing
    assert tiny.consistency.erasing == tiny.consistency.elastic == 0 < tiny.consistency.augmentation


def test_without_labels_filled_shapes_are_bent_too() -> None:
    labeled, unlabeled = chosen(PHOTOS).consistency, chosen(PHOTOS, "unsupervised").consistency
    assert unlabeled.augmentation > labeled.augmentation
    assert unlabeled.elastic > labeled.elastic
    assert unlabeled.erasing == labeled.erasing


@pytest.mark.parametrize(
    ("change", "least"), [("horizontal_flip", 0.7), ("vertical_flip", 0.9), ("quarter_turns", 0.9)]
)
def test_a_change_is_made_only_where_it_keeps_the_neighbours(change: str, least: float) -> None:
    assert not getattr(chosen(PHOTOS).consistency, change)  # not measured
    assert getattr(chosen(PHOTOS, kept={change: least}).consistency, change)
    assert not getattr(chosen(PHOTOS, kept={change: least - 0.01}).consistency, change)
    oblong = chosen(PHOTOS, kept={change: 1.0}, image_shape=(3, 64, 48)).consistency
    assert getattr(oblong, change) == (change != "quarter_turns")


@pytest.mark.parametrize("n_images", [2, 20, 223, 1797, 50_000, 1_000_000])
def test_epochs_and_averages_follow_the_number_of_steps(n_images: int) -> None:
    training = chosen(GREY, n_images=n_images).training
    steps = training.n_epochs * -(-n_images // training.batch_size)
    assert 400 <= steps <= 16_000
    averaged = 1 / (1 - training.ema_decay)
    assert averaged <= max(0.2 * steps, 100)


def test_neighbour_pairs_help_few_labels_and_both_begin_with_spread_labels() -> None:
    few, many = chosen(GREY, labels_per_class=49).consistency, chosen(GREY, labels_per_class=50).consistency
    assert few.lambda_pairs
    assert few.lambda_balance
    assert not (many.lambda_pairs)
    assert not (many.lambda_balance)
    assert many.pseudo_label_head
    assert not few.pseudo_label_head
    for terms in (few, many):
        assert terms.spread_labels
        assert terms.blend_regression
        assert terms.lambda_pseudo_labels


@pytest.mark.parametrize("n_images", [20, 223, 50_000, 1_000_000])
def test_a_first_pseudo_label_lasts_for_a_share_of_the_training(n_images: int) -> None:
    config = chosen(PHOTOS, n_images=n_images)
    soon, end = (config.consistency.memory ** (share * config.training.n_epochs) for share in (0.1, 1.0))
    assert soon > 0.7
    assert end < 0.1


def test_colours_count_among_neighbours_where_there_are_some() -> None:
    for variant in VARIANTS:
        assert chosen(GREY, variant).consistency.likeness == "gradients"
        assert chosen(PHOTOS, variant).consistency.likeness == "gradients-and-colours"


def test_without_labels_pseudo_labels_wait_for_a_share_of_the_epochs() -> None:
    config = chosen(GREY, "unsupervised", n_classes=0, labels_per_class=0)
    assert config.consistency.lambda_pairs
    assert config.consistency.lambda_balance
    assert 2 <= config.consistency.looks_to_trust <= config.training.n_epochs / 4


def test_rates_rise_slowly_where_no_label_holds_categories_apart() -> None:
    alone, labeled = chosen(GREY, "unsupervised").training, chosen(GREY).training
    assert 1 < alone.schedule.warmup_epochs < alone.n_epochs / 10
    assert labeled.schedule.warmup_epochs == 0


def test_uneven_classes_are_tolerated_by_what_they_lack() -> None:
    even = chosen(PHOTOS, class_shares=(0.2,) * 5).consistency
    uneven = chosen(PHOTOS, class_shares=(0.6, 0.1, 0.1, 0.1, 0.1)).consistency
    assert even.balance_tolerance == 0
    for variant in VARIANTS:
        _, reasons = choose(replace(PHOTOS, class_shares=(0.6, 0.1, 0.1, 0.1, 0.1)), variant)
        said = f"; balance tolerates {uneven.balance_tolerance} nats, since the largest class has 60% of the images"
        assert said in reasons[-1]
        assert "tolerates" not in choose(PHOTOS, variant)[1][-1]
    assert uneven.balance_tolerance == uneven.trusted_balance_tolerance == pytest.approx(0.381 + 0.05, abs=0.01)
    empty = chosen(PHOTOS, class_shares=(0.5, 0.5, 0.0)).consistency
    assert empty.balance_tolerance == pytest.approx(0.405 + 0.05, abs=0.01)


def test_neighbours_are_fewer_than_the_images() -> None:
    assert [chosen(PHOTOS, n_images=n).consistency.n_neighbors for n in (5, 40, 100, 223)] == [1, 4, 10, 10]
