"""A collapse is found in metrics that are collapsed, real or made, and not in those of real runs that went well."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config
from test_preflight import facts

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, Variant, VariantConfig
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.diagnosis import Diagnosis
from aae_toolkit.models.networks import Decoder
from aae_toolkit.progress import Silent
from aae_toolkit.training import health
from aae_toolkit.training.health import Line, diagnose, measure, measure_pictures, news
from aae_toolkit.training.remedies import Situation
from aae_toolkit.training.trainer import train

HEALTHY: dict[str, Any] = {
    "discriminator_categorical": 1.38,
    "discriminator_gaussian": 1.4,
    "categories_used": 5,
    "largest_category_share": 0.23,
    "largest_class_share": 0.21,
    "z_divergence": 0.3,
    "picture_variance_rebuilt": 0.7,
    "style_share": 0.5,
}

# Epochs 3, 10 and 60 of `aae demo` (scikit-learn's digits); without labels z is narrow at first.
# largest_category_share, z_divergence, discriminator_categorical, discriminator_gaussian
DEMO = {
    "semi_supervised": [(0.11, 0.59, 1.376, 1.246), (0.103, 0.07, 1.378, 1.386), (0.107, 0.327, 1.384, 1.383)],
    "unsupervised": [(0.343, 2.881, 1.317, 1.266), (0.23, 1.772, 1.129, 0.944), (0.117, 1.356, 1.383, 0.283)],
}


def config_of(
    variant: Variant = "unsupervised", *, k: int = 5, rates: Any = None, training: Any = None, **terms: Any
) -> VariantConfig:
    """Settings of a run that is long enough: 35 epochs of 50 steps."""
    content = {
        "model": {"n_classes": k},
        "training": {"n_epochs": 35, "batch_size": 20} | (training or {}),
        "learning_rates": rates or {},
        "consistency": terms,
    }
    kind = SemiSupervisedConfig if variant == "semi_supervised" else UnsupervisedConfig
    return kind.model_validate(content)


def situation(
    config: VariantConfig | None = None, class_counts: tuple[int, ...] = (20,) * 5, n: int = 100, **changes: Any
) -> Situation:
    return Situation(config or config_of(), facts(**changes), class_counts, n)


def run_of(*changed: dict[str, Any], n: int = 20, of: Situation | None = None) -> list[str]:
    """States that are warned of in `n` epochs: healthy ones, of which the last are changed so."""
    lines = [dict(HEALTHY) for _ in range(n - len(changed))] + [HEALTHY | change for change in changed]
    history: list[Line] = []
    for line in lines:
        found = news([*history, line], of or situation())
        history.append(line | ({health.WARNINGS: [found.state]} if found else {}))
    return [name for line in history for name in line.get(health.WARNINGS, ())]


def at_end(of: Situation | None = None, **measured: Any) -> Diagnosis:
    """Diagnosis at the end of a run whose last epochs were so."""
    found = diagnose([HEALTHY | measured] * 20, of or situation(), at_end=True)
    assert found is not None
    return found


def test_codes_that_follow_their_priors_measure_as_such() -> None:
    rng = np.random.default_rng(0)
    y = np.eye(10, dtype=np.float32)[np.arange(5000) % 10]
    measured = measure(y, rng.standard_normal((5000, 3), dtype=np.float32), np.arange(5000) % 10)
    assert measured["largest_category_share"] == measured["largest_class_share"] == pytest.approx(0.1)
    assert measured["z_divergence"] == pytest.approx(0, abs=0.005)
    assert measured["categories_used"] == 10
    assert measured["certainty"] == 1


@pytest.mark.parametrize(("mean", "deviation", "nats"), [(2.0, 1.0, 2.0), (0.0, 3.0, 2.901), (0.0, 0.03, 3.007)])
def test_the_divergence_of_z_is_that_of_normal_distributions(mean: float, deviation: float, nats: float) -> None:
    z = np.array([[mean - deviation], [mean + deviation]], dtype=np.float32)
    assert measure(np.ones((2, 2), np.float32), z, np.array([-1, -1]))["z_divergence"] == pytest.approx(nats, abs=2e-3)


def test_constant_codes_are_measured_and_unknown_labels_are_no_class() -> None:
    measured = measure(np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32), np.full(4, -1))
    assert measured.keys() == {"categories_used", "largest_category_share", "certainty", "z_divergence"}
    assert measured["largest_category_share"] == measured["categories_used"] == 1
    assert 10 < measured["z_divergence"] < 100
    assert measure(np.ones((0, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros(0, np.int64)) == {}


def pictured(weight_of_y: float, weight_of_z: float) -> dict[str, float]:
    """Measures of a decoder whose one hidden path takes y and z by these weights; images are what y says."""
    architecture = Architecture(
        encoder="mlp",
        hidden_size=3,
        conv_channels=(1,),
        encoder_dropout=0,
        image_shape=(1, 1, 2),
        n_classes=2,
        z_size=1,
    )
    decoder = Decoder(architecture)
    for parameter in decoder.parameters():
        torch.nn.init.zeros_(parameter)
    linear = [m for m in decoder.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        linear[0].weight.copy_(torch.diag(torch.tensor([weight_of_y, weight_of_y, weight_of_z])))
        linear[1].weight.copy_(torch.eye(3))
        linear[2].weight.copy_(torch.tensor([[1.0, -1, 1], [-1.0, 1, 1]]))
    n = 40
    y = np.eye(2, dtype=np.float32)[np.arange(n) % 2]
    z = np.random.default_rng(0).uniform(0, 2, (n, 1)).astype(np.float32)
    images = (y * 255).astype(np.uint8).reshape(n, 1, 1, 2)
    return measure_pictures(decoder, Split(images, np.full(n, -1)), y, z)


def test_pictures_are_measured_by_what_they_rebuild_and_what_the_style_changes() -> None:
    good = pictured(9.0, 0.0)
    assert good["picture_variance_rebuilt"] == pytest.approx(1, abs=0.01)
    assert good["style_share"] == pytest.approx(0, abs=0.01)
    nothing = pictured(0.0, 0.0)
    assert nothing["picture_variance_rebuilt"] == pytest.approx(0, abs=0.01)
    style_alone = pictured(0.0, 2.0)
    assert style_alone["style_share"] > 0.5
    decoder = Decoder.__new__(Decoder)
    one = np.ones((1, 2), np.float32)
    assert measure_pictures(decoder, Split(np.zeros((1, 1, 1, 2), np.uint8), np.array([0])), one, one) == {}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"largest_category_share": 0.97, "categories_used": 3}, "collapsed"),
        ({"largest_category_share": 0.5}, "uneven"),
        ({"discriminator_categorical": 0.05}, "categorical_discriminator_wins"),
        ({"discriminator_gaussian": 0.05}, "gaussian_discriminator_wins"),
        ({"z_divergence": 6.0}, "z_far_from_prior"),
        ({"picture_variance_rebuilt": 0.03}, "blurred"),
        ({"style_share": 0.001}, "style_unused"),
    ],
)
def test_each_state_is_warned_of_once_when_it_has_lasted(change: dict[str, Any], state: str) -> None:
    assert run_of() == []
    assert run_of(change, change) == []
    assert run_of(change, change, change) == [state]
    assert run_of(*[change] * 20) == [state]
    assert run_of(change, change, {}, change, change) == []
    found = at_end(**change)
    assert found.state == state
    assert found.advice
    assert len(found.line.splitlines()) == 1
    assert found.line.startswith(f"{found.title}: ")


def test_pictures_are_judged_in_the_second_half_of_a_run_only() -> None:
    for change in ({"z_divergence": 6.0}, {"picture_variance_rebuilt": 0.0}, {"style_share": 0.0}):
        assert run_of(*[change] * 17, n=17) == []
        assert len(run_of(*[change] * 18, n=18)) == 1


def test_of_several_states_the_most_serious_is_the_diagnosis() -> None:
    both = {"largest_category_share": 1.0, "categories_used": 1, "discriminator_categorical": 0.01, "z_divergence": 9.0}
    assert run_of(both, both, both) == ["collapsed"]
    assert at_end(**both).state == "collapsed"
    assert at_end(z_divergence=9.0, style_share=0.0).state == "z_far_from_prior"


@pytest.mark.parametrize(("n_epochs", "first"), [(1, None), (2, None), (4, 3), (20, 5), (35, 9), (60, 10), (500, 10)])
def test_warnings_wait_until_a_run_has_found_its_way(n_epochs: int, first: int | None) -> None:
    of = situation(config_of(training={"n_epochs": n_epochs}))
    collapsed = {"largest_category_share": 1.0}
    warned = [n for n in range(1, n_epochs + 1) if run_of(*[collapsed] * n, n=n, of=of)]
    assert (warned[0] if warned else None) == first


def test_a_class_that_most_images_have_may_fill_a_category() -> None:
    of = situation(class_counts=(96, 1, 1, 1, 1))
    rare = {"largest_class_share": 0.96, "largest_category_share": 0.97, "categories_used": 2}
    assert run_of(rare, rare, rare, of=of) == []
    all_in_one = rare | {"largest_category_share": 0.99}
    assert run_of(all_in_one, all_in_one, all_in_one, of=of) == ["collapsed"]


def test_more_categories_than_classes_need_not_all_be_used() -> None:
    of = situation(config_of(k=30), (10,) * 10)
    tenth = {"largest_class_share": 0.1, "largest_category_share": 0.12}
    assert at_end(of, **tenth, categories_used=10).is_healthy
    assert at_end(of, **tenth, categories_used=8).state == "uneven"
    assert at_end(of, **tenth, categories_used=4).state == "collapsed"
    unknown = replace(of, class_counts=(), n_validation=200)
    assert at_end(unknown, largest_category_share=0.09, categories_used=10).state == "collapsed"


def test_rare_classes_that_get_no_category_are_no_collapse() -> None:
    of = situation(class_counts=(60, 30, 4, 3, 3))
    assert at_end(of, largest_class_share=0.6, largest_category_share=0.65, categories_used=2).is_healthy
    assert at_end(of, largest_class_share=0.6, largest_category_share=0.97, categories_used=2).state == "collapsed"


def test_without_labels_uneven_categories_may_be_right_and_the_advice_says_so() -> None:
    found = at_end(situation(class_counts=()), largest_category_share=0.7, largest_class_share=0.0)
    assert found.state == "uneven"
    assert found.advice.startswith("if the kinds in your data differ as much in size, nothing is wrong; otherwise ")
    assert "--n-classes" in found.advice
    assert at_end(situation(class_counts=()), largest_category_share=0.5, categories_used=4).is_healthy


def test_a_few_validation_images_may_leave_categories_unused() -> None:
    few = situation(class_counts=(4,) * 5, n=20)
    assert at_end(few, largest_category_share=0.5, categories_used=2).is_healthy
    assert at_end(few, largest_category_share=1.0, categories_used=1).state == "collapsed"
    assert diagnose([{"reconstruction": 0.5}], few, at_end=True) is None
    assert diagnose([], few, at_end=True) is None


@pytest.mark.parametrize("run", DEMO)
def test_the_demos_runs_are_not_warned_of(run: str) -> None:
    names = ("largest_category_share", "z_divergence", "discriminator_categorical", "discriminator_gaussian")
    of = situation(config_of(k=10, training={"n_epochs": 60}), (36,) * 10, 360)
    measured = [dict(zip(names, values, strict=True)) for values in DEMO[run]]
    early, later, last = ({"categories_used": 10, "largest_class_share": 0.12, **line} for line in measured)
    assert run_of(*[early] * 9, *[later] * 20, *[last] * 31, n=60, of=of) == []
    assert at_end(of, **last).is_healthy


def test_a_phase_that_is_not_trained_cannot_be_its_winner() -> None:
    bare = [{"largest_category_share": 0.2}] * 12
    assert diagnose(bare, situation()) == Diagnosis(state="healthy")
    won = {"discriminator_categorical": 0.01, "discriminator_gaussian": 0.01}
    backbone, _ = choose_for_rows(RowFacts(1000, 1280, 0, are_embeddings=True), "unsupervised")
    backbone = backbone.model_copy(update={"model": backbone.model.model_copy(update={"n_classes": 5})})
    found = at_end(situation(backbone, has_backbone=True), **won)  # nothing moves y to its prior, by rule
    assert found.state == "gaussian_discriminator_wins"


def collapsed(config: VariantConfig, *, won: bool = False, **changes: Any) -> str:
    """Advice after a run of these settings that ended in one category."""
    loss = 0.01 if won else 1.3
    measured = {"largest_category_share": 1.0, "categories_used": 1, "discriminator_categorical": loss}
    return at_end(situation(config, **changes), **measured).advice


def test_a_run_that_ends_in_one_category_says_so_in_one_line() -> None:
    text = at_end(largest_category_share=1.0, categories_used=1).line
    used = "COLLAPSED: 1 of 5 categories is used"
    assert text.startswith(f"{used}, the largest has 100% of the validation images and the largest class 21%; ")
    assert len(text.splitlines()) == 1
    unlabeled = at_end(situation(class_counts=()), largest_category_share=0.5, categories_used=2).line
    assert unlabeled.startswith("COLLAPSED: 2 of 5 categories are used, the largest has 50% of the validation images; ")


PAIRS = {"lambda_pairs": 1.0, "n_neighbors": 2}


def test_the_advice_against_a_collapse_fits_the_settings() -> None:
    assert "set lambda_pairs: 1 and lambda_balance: 4" in collapsed(config_of())
    assert "set lambda_balance: 4 (section consistency, now 0)" in collapsed(config_of(**PAIRS))
    balanced = config_of(**PAIRS, lambda_balance=3.0)
    text = collapsed(balanced)
    assert "need a backbone" in text
    assert "raise lambda_balance (now 3)" in text
    assert "set lambda" not in text
    assert "backbone" not in collapsed(balanced, has_backbone=True)
    easy = config_of(**PAIRS, lambda_balance=3.0, balance_tolerance=0.4)
    assert "lower balance_tolerance (now 0.4)" in collapsed(easy)
    assert "lambda_balance" not in collapsed(easy)


def test_more_balance_is_no_advice_where_y_is_undecided() -> None:
    """As in photographs without a backbone: y is uniform for every image, which is as balanced as can be."""
    of = situation(config_of(**PAIRS, lambda_balance=4.0, k=12), class_counts=(), n=73)
    found = at_end(of, categories_used=3, largest_category_share=0.81, certainty=0.142)
    assert found.finding.endswith("the largest has 81% of the validation images; y is undecided, 14% certain")
    assert "lambda_balance" not in found.advice
    assert "need a backbone" in found.advice
    assert "--n-classes, now 12" in found.advice
    sure = at_end(of, categories_used=3, largest_category_share=0.81, certainty=0.9)
    assert "undecided" not in sure.finding
    assert "raise lambda_balance (now 4)" in sure.advice


def test_rates_are_named_only_where_they_are_in_force() -> None:
    balanced = {**PAIRS, "lambda_balance": 3.0}
    assert "lower generator_lr (now 0.002)" in collapsed(config_of(**balanced))
    won = collapsed(config_of(**balanced), won=True)  # y learns nothing from the generator
    assert "generator_lr" not in won
    assert "lower discriminator_lr (now 0.0002)" in won
    assert "generator_lr" not in collapsed(config_of(**balanced, training={"use_autoencoder": False}))
    assert "generator_lr" not in collapsed(config_of(**balanced, rates={"generator_lr": 0.0}))  # as with a backbone


def test_no_advice_raises_what_another_lowers() -> None:
    """The same run must not be told to lower a setting in one epoch and to raise it in another."""
    ways: dict[str, set[str]] = {"raise": set(), "lower": set()}
    for change in (
        {"largest_category_share": 1.0, "categories_used": 1},
        {"largest_category_share": 0.5},
        {"discriminator_categorical": 0.05},
        {"discriminator_gaussian": 0.05},
    ):
        for words in at_end(situation(config_of(**PAIRS, lambda_balance=3.0)), **change).advice.split(", "):
            for way, keys in ways.items():
                keys |= {words.split(f"{way} ")[1].split()[0]} if f"{way} " in words else set()
    assert ways["raise"]
    assert ways["lower"]
    assert not ways["raise"] & ways["lower"]


def test_after_too_few_steps_more_of_them_are_the_only_advice() -> None:
    of = situation(config_of(training={"n_epochs": 3, "batch_size": 500}))
    for change in ({"largest_category_share": 1.0}, {"largest_category_share": 0.5}):
        assert at_end(of, **change).advice == "give --batch-size 50 --n-epochs 280"


def test_styles_that_are_far_or_unused_are_advised_on_by_their_own_settings() -> None:
    of = situation(config_of(training={"lambda_z_l2_regularization": 0.1, "autoencoder_every": 4}))
    assert "raise lambda_z_l2_regularization (now 0.1)" in at_end(of, z_divergence=9.0).advice
    unused = at_end(of, style_share=0.0).advice
    assert "set autoencoder_every: 1 (now 4)" in unused
    assert "lower lambda_z_l2_regularization (now 0.1)" in unused
    labeled = situation(config_of("semi_supervised"))
    assert "lambda_z_l2" not in at_end(labeled, z_divergence=9.0).advice + at_end(labeled, style_share=0.0).advice
    assert "raise z_size (now 2)" in at_end(labeled, picture_variance_rebuilt=0.0).advice
    still = situation(config_of(rates={"generator_lr": 0.0}))
    assert "set style_lr above 0 (now 0)" in at_end(still, z_divergence=9.0).advice
    assert "label more images" in at_end(labeled, largest_category_share=0.6).advice


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
        assert 1 <= line["categories_used"] <= 4
        assert line["picture_variance_rebuilt"] <= 1
        assert 0 <= line["style_share"] <= 1


def test_a_real_training_that_collapses_is_warned_of_once(data_dir: Path, tmp_path: Path) -> None:
    config = tiny_config("unsupervised", n_epochs=12, use_disentanglement=False)
    rates = {"generator_lr": 1e-6, "discriminator_lr": 0.05, "auto_encoder_lr": 0.01}  # hardly anything pulls y
    config = type(config).model_validate(config.model_dump() | {"learning_rates": rates})
    progress = Lines()
    train(config, DataDirectory(data_dir), tmp_path, device="cpu", progress=progress)
    warned = [line for line in progress.lines if line.startswith("warning: ")]
    recorded = [json.loads(line).get("warnings", []) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(warned) == sum(map(len, recorded)) == len({name for names in recorded for name in names}) > 0


def test_the_diagnosis_of_a_training_is_in_its_description_and_stays_there(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symptoms = tuple(replace(s, shows=lambda *_: True) for s in health.SYMPTOMS)
    monkeypatch.setattr(health, "SYMPTOMS", symptoms)
    description = train(tiny_config("unsupervised"), DataDirectory(data_dir), tmp_path / "one", device="cpu")
    written = json.loads((tmp_path / "one" / "model.json").read_text())["diagnosis"]
    assert description.diagnosis is not None
    assert written == description.diagnosis.model_dump()
    assert written["state"] == "collapsed"


def test_measuring_changes_neither_weights_nor_random_streams(
    variant: Variant, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str) -> list[bytes]:
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path / name, device="cpu")
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("*.safetensors"))]

    measured = written("measured")
    monkeypatch.setattr(health, "measure", lambda *_: {})
    monkeypatch.setattr(health, "measure_pictures", lambda *_: {})
    assert written("unmeasured") == measured
