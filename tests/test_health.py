"""Collapse is found in metrics that are collapsed, real or made, and not in those of real runs that went well."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_config

from aae_toolkit.config import Variant, VariantConfig
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.progress import Silent
from aae_toolkit.training import health
from aae_toolkit.training.health import Line, collapse, measure, new_symptoms
from aae_toolkit.training.trainer import train

HEALTHY: dict[str, Any] = {
    "discriminator_categorical": 1.38,
    "discriminator_gaussian": 1.4,
    "largest_category_share": 0.13,
    "largest_class_share": 0.11,
    "z_divergence": 0.3,
}

# Epochs 3, 10 and 60 of `aae demo` (scikit-learn's digits); without labels z is narrow at first.
# largest_category_share, z_divergence, discriminator_categorical, discriminator_gaussian
DEMO = {
    "semi_supervised": [(0.11, 0.59, 1.376, 1.246), (0.103, 0.07, 1.378, 1.386), (0.107, 0.327, 1.384, 1.383)],
    "unsupervised": [(0.343, 2.881, 1.317, 1.266), (0.23, 1.772, 1.129, 0.944), (0.117, 1.356, 1.383, 0.283)],
}


def found(*changed: dict[str, Any], n: int = 12, n_epochs: int = 35) -> list[str]:
    """Names of all that is warned of in `n` epochs: healthy ones, of which the last are changed so."""
    lines = [dict(HEALTHY) for _ in range(n - len(changed))] + [HEALTHY | change for change in changed]
    history: list[Line] = []
    for line in lines:
        symptoms = [symptom.name for symptom in new_symptoms([*history, line], n_epochs)]
        history.append(line | ({health.WARNINGS: symptoms} if symptoms else {}))
    return [name for line in history for name in line.get(health.WARNINGS, ())]


def test_codes_that_follow_their_priors_measure_as_such() -> None:
    rng = np.random.default_rng(0)
    y = np.eye(10, dtype=np.float32)[np.arange(5000) % 10]
    measured = measure(y, rng.standard_normal((5000, 3), dtype=np.float32), np.arange(5000) % 10)
    assert measured["largest_category_share"] == measured["largest_class_share"] == pytest.approx(0.1)
    assert measured["z_divergence"] == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(("mean", "deviation", "nats"), [(2.0, 1.0, 2.0), (0.0, 3.0, 2.901), (0.0, 0.03, 3.007)])
def test_the_divergence_of_z_is_that_of_normal_distributions(mean: float, deviation: float, nats: float) -> None:
    z = np.array([[mean - deviation], [mean + deviation]], dtype=np.float32)
    assert measure(np.ones((2, 2), np.float32), z, np.array([-1, -1]))["z_divergence"] == pytest.approx(nats, abs=2e-3)


def test_constant_codes_are_measured_and_unknown_labels_are_no_class() -> None:
    measured = measure(np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32), np.full(4, -1))
    assert measured.keys() == {"largest_category_share", "z_divergence"}
    assert measured["largest_category_share"] == 1
    assert 10 < measured["z_divergence"] < 100
    assert measure(np.ones((0, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros(0, np.int64)) == {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"largest_category_share": 0.97}, "one_category"),
        ({"discriminator_categorical": 0.05}, "categorical_discriminator_wins"),
        ({"discriminator_gaussian": 0.05}, "gaussian_discriminator_wins"),
        ({"z_divergence": 6.0}, "z_far_from_prior"),
    ],
)
def test_each_collapse_is_warned_of_once_when_it_has_lasted(change: dict[str, Any], name: str) -> None:
    assert found() == []
    assert found(change, change) == []
    assert found(change, change, change) == [name]
    assert found(*[change] * 12) == [name]
    assert found(change, change, {}, change, change) == []
    [symptom] = [symptom for symptom in health.SYMPTOMS if symptom.name == name]
    text = symptom.text(HEALTHY | change)
    assert len(text.splitlines()) == 1
    assert any(advice in text for advice in ("lower ", "raise "))


def test_collapses_that_come_together_are_all_named() -> None:
    both = {"largest_category_share": 1.0, "discriminator_categorical": 0.01}
    assert found(both, both, both) == ["one_category", "categorical_discriminator_wins"]


@pytest.mark.parametrize(("n_epochs", "first"), [(1, None), (2, None), (4, 3), (20, 5), (35, 9), (60, 10), (500, 10)])
def test_warnings_wait_until_a_run_has_found_its_way(n_epochs: int, first: int | None) -> None:
    collapsed = {"largest_category_share": 1.0}
    warned = [n for n in range(1, n_epochs + 1) if found(*[collapsed] * n, n=n, n_epochs=n_epochs)]
    assert (warned[0] if warned else None) == first


def test_a_class_that_most_images_have_may_fill_a_category() -> None:
    rare = {"largest_class_share": 0.96, "largest_category_share": 0.97}
    assert found(rare, rare, rare) == []
    all_in_one = rare | {"largest_category_share": 0.99}
    assert found(all_in_one, all_in_one, all_in_one) == ["one_category"]


@pytest.mark.parametrize("run", DEMO)
def test_the_demos_runs_are_not_warned_of(run: str) -> None:
    names = ("largest_category_share", "z_divergence", "discriminator_categorical", "discriminator_gaussian")
    early, later, last = (dict(zip(names, values, strict=True)) for values in DEMO[run])
    assert found(*[early] * 9, *[later] * 20, *[last] * 31, n=60, n_epochs=60) == []


def test_a_phase_that_is_not_trained_cannot_be_its_winner() -> None:
    bare = [{"largest_category_share": 0.2}] * 12
    assert new_symptoms(bare, 12) == []


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_training_measures_each_epoch_and_a_healthy_one_is_not_warned_of(model_dir: Path) -> None:
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert 1 / 4 <= line["largest_category_share"] <= 1
        assert line["largest_class_share"] == pytest.approx(1 / 3)
        assert line["z_divergence"] >= 0


def test_a_real_training_that_collapses_is_warned_of_once(data_dir: Path, tmp_path: Path) -> None:
    config = tiny_config("unsupervised", n_epochs=12, use_disentanglement=False)
    rates = {"generator_lr": 0.0, "discriminator_lr": 0.05, "auto_encoder_lr": 0.01}  # nothing pulls y to its prior
    config = type(config).model_validate(config.model_dump() | {"learning_rates": rates})
    progress = Lines()
    train(config, DataDirectory(data_dir), tmp_path, device="cpu", progress=progress)
    warned = [line for line in progress.lines if line.startswith("warning: ")]
    recorded = [json.loads(line).get("warnings", []) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(warned) == sum(map(len, recorded)) == len({name for names in recorded for name in names}) > 0
    assert "wins outright" in " ".join(warned)


def said_of(used: list[int], *, config: VariantConfig | None = None, n: int = 50, has_backbone: bool = False) -> str:
    """What the end of a run says of 5 categories of which these are used in turn; an empty text if nothing."""
    y = np.eye(5, dtype=np.float32)[np.resize(used, n)]
    config = config or tiny_config("unsupervised")
    return collapse(y, np.arange(n) % 5, config, has_backbone=has_backbone) or ""


def test_a_run_that_ends_in_one_category_says_so_in_one_line() -> None:
    text = said_of([3])
    assert text.startswith("COLLAPSED: 1 of 5 categories is used, the largest has 100% of the validation images; ")
    assert len(text.splitlines()) == 1
    assert said_of([1, 4]).startswith("COLLAPSED: 2 of 5 categories are used, the largest has 50%")


@pytest.mark.parametrize("used", [[0, 1, 2, 3, 4], [0, 1, 2]])
def test_a_run_that_uses_most_categories_ends_without_a_word(used: list[int]) -> None:
    assert said_of(used) == ""


def test_a_few_validation_images_may_leave_categories_unused() -> None:
    assert said_of([1, 4], n=20) == ""
    assert said_of([3], n=20)
    assert said_of([3], n=0) == ""


def test_the_advice_against_a_collapse_fits_the_settings() -> None:
    bare = tiny_config("unsupervised")
    balanced = type(bare).model_validate(
        bare.model_dump() | {"consistency": {"lambda_pairs": 1.0, "lambda_balance": 3.0, "n_neighbors": 2}}
    )
    assert "turn on lambda_pairs with lambda_balance" in said_of([0], config=bare)
    without = said_of([0], config=balanced)
    assert "need a backbone" in without
    assert "raise lambda_balance (now 3)" in without
    assert "turn on" not in without
    assert "backbone" not in said_of([0], config=balanced, has_backbone=True)
    alone = balanced.model_copy(update={"training": balanced.training.model_copy(update={"use_autoencoder": False})})
    assert "generator_lr (now 0.002)" in without
    assert "generator_lr" not in said_of([0], config=alone)
    still = balanced.learning_rates.model_copy(update={"generator_lr": 0.0})  # as with a backbone
    assert "generator_lr" not in said_of([0], config=balanced.model_copy(update={"learning_rates": still}))


def test_a_training_that_collapsed_says_so_at_its_end(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Lines()
    monkeypatch.setattr(health, "_NEARLY_ALL", 0.0)
    train(tiny_config("unsupervised"), DataDirectory(data_dir), tmp_path / "one", device="cpu", progress=progress)
    assert [line.startswith("COLLAPSED: ") for line in progress.lines][-2:] == [False, True]


def test_measuring_changes_neither_weights_nor_random_streams(
    variant: Variant, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str) -> list[bytes]:
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path / name, device="cpu")
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("*.safetensors"))]

    measured = written("measured")
    monkeypatch.setattr(health, "measure", lambda *_: {})
    assert written("unmeasured") == measured
