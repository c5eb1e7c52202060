"""Uneven classes: weights of labels, shares of categories, and every place of a training that takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_source
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight  # noqa: TID253
from test_phases import CONSISTENCY, a_batch, memory_for, networks, teacher_of

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Silent
from aae_toolkit.training.frequencies import (
    ALL_ALIKE,
    Frequencies,
    balanced_weights,
    frequencies_of,
    smoothed_shares,
)
from aae_toolkit.training.neighborhoods import find_neighborhoods
from aae_toolkit.training.phase import Phase
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.run import Run
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.terms.memory import Memory, Recalled
from aae_toolkit.training.terms.term import Encodings
from aae_toolkit.training.trainer import train

CPU = torch.device("cpu")
BALANCED = {"class_weights": "balanced"}
LABELS = {"class_prior": "labels"}


def test_keys_that_are_off_stand_in_no_configuration() -> None:
    training = SemiSupervisedConfig().training
    assert (training.class_weights, training.class_prior) == ("none", "uniform")
    assert not set(BALANCED | LABELS) & set(type(UnsupervisedConfig().training).model_fields)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_weights_are_those_of_scikit_learn_and_1_on_average(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = balanced_weights(np.array(counts))
    np.testing.assert_allclose(
        weights, compute_class_weight("balanced", classes=np.unique(labels), y=labels), rtol=1e-6
    )
    assert weights[labels].mean() == pytest.approx(1)


def test_a_class_without_labels_is_left_out_of_the_weights_and_has_a_share() -> None:
    weights, shares = balanced_weights(np.array([6, 0, 2])), smoothed_shares(np.array([6, 0, 2]))
    np.testing.assert_allclose(weights, [8 / 12, 1, 2])
    np.testing.assert_allclose(shares, [7 / 11, 1 / 11, 3 / 11])
    assert (weights.dtype, shares.dtype) == (np.float32, np.float32)


@pytest.fixture
def uneven_dir(tmp_path: Path) -> Path:
    """Labelled images of three classes: 24 of the first, 6 of the second, 3 of the third, others alike."""
    source = tiny_source(240)
    kept = np.concatenate([np.flatnonzero(source.labels == c)[:n] for c, n in enumerate((80, 20, 10))])
    uneven = replace(source, images=source.images[kept], labels=source.labels[kept])
    hidden = np.concatenate([np.flatnonzero(uneven.labels == c)[n:] for c, n in enumerate((48, 12, 6))])
    uneven.labels[hidden] = -1
    write_data_directory(tmp_path / "data", uneven, None, 22, 11, seed=0)
    return tmp_path / "data"


def a_run(directory: Path, tmp_path: Path, config: Any) -> Run:
    data = DataDirectory(directory)
    return Run(fit_config_to_data(config, data), data, Runtime(CPU, "fp32", compile=False), tmp_path, Silent())


def test_frequencies_are_of_the_labelled_images_and_read_only_where_asked(uneven_dir: Path, tmp_path: Path) -> None:
    counts = np.bincount(DataDirectory(uneven_dir).load("train_labeled").labels)
    assert counts.max() > 3 * counts.min()
    run = a_run(uneven_dir, tmp_path, tiny_config("semi_supervised", **BALANCED, **LABELS))
    found = frequencies_of(run.data, run.config, CPU)
    assert found.weights is not None
    assert found.prior is not None
    np.testing.assert_array_equal(found.weights.numpy(), balanced_weights(counts))
    np.testing.assert_array_equal(found.prior.numpy(), smoothed_shares(counts))
    assert frequencies_of(run.data, tiny_config("semi_supervised", **LABELS), CPU).weights is None
    for config in (tiny_config("semi_supervised"), tiny_config("unsupervised")):
        assert frequencies_of(None, config, CPU) is ALL_ALIKE  # type: ignore[arg-type]


def phases(config: SemiSupervisedConfig, frequencies: Frequencies, **options: Any) -> dict[str, Phase]:
    nets = networks(**options)
    built = build_phases(nets, config, teacher=teacher_of(nets), memory=memory_for(config), frequencies=frequencies)
    return {phase.name: phase for phase in built}


def test_labels_count_by_their_class_in_both_phases_that_learn_them() -> None:
    batch, weights = a_batch(), torch.tensor([0.5, 2.0, 3.0])
    quiet = {"input_noise": 0.0, "augment_labeled": False, "ema_decay": 0.9}
    for name, terms in (("classification", {}), ("consistency", CONSISTENCY | {"augmentation": 0.0})):
        config = SemiSupervisedConfig.model_validate({"training": quiet, "consistency": terms})
        losses = {}
        for key, frequencies in (("all", ALL_ALIKE), ("weighted", Frequencies(weights=weights))):
            torch.manual_seed(3)
            losses[key] = phases(config, frequencies)[name](batch)["classification"]
        one = {}
        for c in range(3):
            torch.manual_seed(3)
            alone = Frequencies(weights=torch.eye(3)[c])
            one[c] = phases(config, alone)[name](batch)["classification"]
        torch.testing.assert_close(sum(one.values()), losses["all"])
        torch.testing.assert_close(sum(weights[c] * one[c] for c in range(3)), losses["weighted"])


@pytest.mark.parametrize("head", [False, True])
def test_pseudo_labels_of_all_categories_count_alike_on_either_head(head: bool) -> None:
    terms = {"lambda_pseudo_labels": 1.0, "confidence": 0.0, "augmentation": 0.0, "pseudo_label_head": head}
    config = SemiSupervisedConfig.model_validate({"training": {"ema_decay": 0.9}, "consistency": terms})
    category, shares = torch.arange(10) % 3, torch.tensor([0.9, 0.09, 0.01])
    recalled = Recalled(torch.eye(3)[category], torch.ones(10, dtype=torch.bool), None, shares)
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, weights in (("alike", None), ("weighted", torch.tensor([0.1, 5.0, 20.0]))):
        phase = phases(config, Frequencies(weights=weights), pseudo_label_head=head)["consistency"]
        [term] = [term for term in phase.terms if term.name == "pseudo_labels"]  # type: ignore[attr-defined]
        found[name] = term(
            Encodings(torch.zeros(10, phase_features(phase)), logits, {"image": slice(0, 10)}, {}, recalled)
        )
        assert phase.weighs_classes == (weights is not None)
    seen = term.head(torch.zeros(10, phase_features(phase))) if head else logits
    weights = torch.tensor([1 / 2.7, 1 / 0.27, 20.0])  # the last is no more than the rarest class's labels
    per_image = torch.nn.functional.cross_entropy(seen, category, reduction="none")
    torch.testing.assert_close(found["alike"], per_image.mean())
    torch.testing.assert_close(found["weighted"], (weights[category] * per_image).mean())


def phase_features(phase: Any) -> int:
    """Number of features of the encoder."""
    return int(phase.encoder.y_head.in_features)


def test_the_memory_tells_the_shares_of_what_it_knows() -> None:
    memory = Memory(6, 3, decay=0.8)
    memory.add(torch.tensor([0, 1]), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    recalled = memory.recall(torch.tensor([0, 3]), None, 1, with_shares=True)
    assert recalled.shares is not None
    torch.testing.assert_close(recalled.shares, torch.tensor([0.75, 0.25, 0.0]))
    assert memory.recall(torch.tensor([0]), None, 1).shares is None


def test_the_balance_term_and_the_prior_of_y_follow_the_labels_shares() -> None:
    prior = torch.tensor([0.98, 0.01, 0.01])
    config = SemiSupervisedConfig.model_validate(
        {"training": {"ema_decay": 0.9} | LABELS, "consistency": CONSISTENCY | {"augmentation": 0.0}}
    )
    built = phases(config, Frequencies(prior=prior))
    balance = next(term for term in built["consistency"].terms if term.name == "balance")  # type: ignore[attr-defined]
    assert balance.frequencies.prior is prior
    torch.manual_seed(0)
    drawn = built["discriminator"]._weights(torch.ones(4, 3))  # type: ignore[operator]
    assert torch.equal(drawn, prior)
    assert torch.equal(phases(config, ALL_ALIKE)["discriminator"]._weights(torch.ones(4, 3)), torch.ones(3))  # type: ignore[operator]
    assert "prior" not in built["discriminator"].state_dict()


@pytest.mark.parametrize("blended", [False, True])
def test_first_pseudo_labels_are_weighted_too(uneven_dir: Path, tmp_path: Path, blended: bool) -> None:
    terms = {"spread_labels": True, "blend_regression": blended, "lambda_pseudo_labels": 1.0, "n_neighbors": 5}
    sums = []
    for weights in ("none", "balanced"):
        config = tiny_config("semi_supervised", consistency=terms, ema_decay=0.9, class_weights=weights)
        run = a_run(uneven_dir, tmp_path, config)
        labeled, unlabeled = (run.data.load_inputs(name) for name in ("train_labeled", "train_unlabeled"))
        noise = np.random.default_rng(0).integers(0, 256, unlabeled.images.shape, dtype=np.uint8)  # of no class
        _, first = find_neighborhoods(Split(noise, unlabeled.labels), labeled, run)
        assert first is not None
        sums.append(first.sum(axis=0))
    assert sums[1][1:].sum() > sums[0][1:].sum()  # of the rarer two


@pytest.mark.parametrize("keys", [BALANCED, LABELS, BALANCED | LABELS])
def test_a_training_with_uneven_classes_runs_and_can_be_resumed(
    uneven_dir: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    terms = {"lambda_pairs": 1.0, "lambda_balance": 2.0, "lambda_pseudo_labels": 1.0, "n_neighbors": 3}
    config = tiny_config("semi_supervised", consistency=terms, ema_decay=0.9, n_epochs=2, **keys)
    data = DataDirectory(uneven_dir)
    train(config, data, tmp_path / "model", device="cpu")
    description = train(config, data, tmp_path / "model", device="cpu", resume=True)
    assert description.validation_accuracy is not None


def test_even_labels_give_the_same_training_up_to_rounding(data_dir: Path, tmp_path: Path) -> None:
    weights = []
    for keys in ({}, BALANCED | LABELS):
        run = a_run(data_dir, tmp_path, tiny_config("semi_supervised", **keys))
        batches, first_y = build_batches(run)
        state = initial_state(run, batches.n_images, first_y, batches.moments())
        torch.manual_seed(0)
        for runner in state.runners:
            runner.run(next(iter(batches.epoch(0))))
        weights.append(state.networks.encoder.y_head.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-4)


def test_further_categories_have_no_share(data_dir: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", **LABELS)
    more = config.model_copy(update={"model": config.model.model_copy(update={"n_classes": 5})})
    with pytest.raises(
        UsageError, match=r"shares of 3 classes and none of 2 further categories; ask for --n-classes 3"
    ):
        fit_config_to_data(more, data)
    assert fit_config_to_data(config, data).model.n_classes == 3
