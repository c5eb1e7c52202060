from typing import Any

import pytest
import torch
from test_consistency import a_phase
from test_phases import CONSISTENCY, EAGER, SWITCHES, a_batch, memory_for, networks, phases_of, teacher_of

from aae_toolkit.config import ConsistencyConfig, SemiSupervisedConfig, UnsupervisedConfig, Variant
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.terms.registry import TERMS_ON_CODES, TERMS_ON_Y, VIEWS, terms_on_y
from aae_toolkit.visualization.curves import curves_of

WEIGHTS = [key for key in CONSISTENCY if key.startswith("lambda_")]

# Five steps of every phase that has terms, recorded before terms were objects, to seven digits.
GOLDEN: dict[str, dict[str, list[float]]] = {
    "semi_supervised": {
        "reconstruction": [0.7051611, 0.7052006, 0.7049611, 0.7048236, 0.7040936],
        "classification": [1.323609, 1.182284, 1.188737, 1.197005, 1.142172],
        "pseudo_labels": [0, 0.6267763, 0.6589854, 0.735042, 0.7166889],
        "pairs": [1.021072, 0.7074725, 0.7104995, 0.713025, 0.7143577],
        "balance": [0.1615434, 0.1099836, 0.09394237, 0.06763025, 0.06502195],
        "over_clustering": [0.8171741, 0.5602362, 0.5559595, 0.5578027, 0.5502762],
        "virtual_adversarial": [1.112913, 1.107785, 1.098826, 1.086491, 1.07726],
    },
    "unsupervised": {
        "reconstruction": [0.7051611, 0.7048904, 0.7042968, 0.7042331, 0.7039506],
        "z_l2": [0.9567836, 0.6811203, 0.3434405, 0.3064533, 0.4844645],
        "mode_reconstruction": [0.693837, 0.6937901, 0.6936654, 0.6935145, 0.6933413],
        "mutual_information": [1.026169, 1.027135, 1.034997, 1.035126, 1.030689],
        "mode_separation": [-5.581853e-05, -5.518522e-05, -5.602168e-05, -5.943569e-05, -6.433243e-05],
        "pseudo_labels": [0, 0.6299447, 0.6665196, 0.6183761, 0.5669864],
        "pairs": [1.013287, 0.7065887, 0.7029316, 0.6942867, 0.6808958],
        "balance": [0.1647227, 0.1345095, 0.1162681, 0.1135635, 0.1615392],
        "over_clustering": [0.8174527, 0.5599271, 0.5517948, 0.5499325, 0.5577729],
        "virtual_adversarial": [1.098687, 1.093236, 1.085535, 1.087437, 1.088464],
    },
}


def losses_of_five_steps(variant: Variant) -> dict[str, list[float]]:
    """Each term's losses with everything on; SGD, since Adam makes whole steps of rounding errors."""
    rates = dict.fromkeys(("auto_encoder_lr", "consistency_lr"), 0.05)
    training: dict[str, Any] = {"ema_decay": 0.9, "use_adam_optimization": False, "input_noise": 0.1}
    tolerances = {"balance_tolerance": 0.01, "trusted_balance_tolerance": 0.02}
    consistency = CONSISTENCY | tolerances | {"elastic": 0.03, "looks_to_trust": 2}
    section, batch = SemiSupervisedConfig, a_batch()
    if variant == "unsupervised":
        section, batch = UnsupervisedConfig, batch._replace(labeled_images=None, labels=None)
        training |= SWITCHES
        rates |= dict.fromkeys(("info_lr", "mode_lr", "disentanglement_lr"), 0.05)
    config = section.model_validate({"learning_rates": rates, "training": training, "consistency": consistency})
    nets = networks()
    phases = build_phases(nets, config, teacher=teacher_of(nets), memory=memory_for(config))
    runners = [PhaseRunner(phase, EAGER) for phase in phases if phase.name not in ("discriminator", "generator")]
    torch.manual_seed(5)
    values: dict[str, list[float]] = {}
    for _ in range(5):
        for runner in runners:
            for name, term in runner.run(batch).items():
                values.setdefault(name, []).append(term.item())
    return values


def test_five_steps_have_the_losses_that_they_always_had(variant: Variant) -> None:
    values, golden = losses_of_five_steps(variant), GOLDEN[variant]
    assert list(values) == list(golden)  # losses add up in this order
    for name, losses in golden.items():  # processors with other vector units differ by up to 5e-5
        assert values[name] == pytest.approx(losses, rel=5e-4, abs=1e-6), name


def test_every_weight_of_the_configuration_is_a_registered_term() -> None:
    assert set(TERMS_ON_Y) == {key for key in ConsistencyConfig.model_fields if key.startswith("lambda_")}
    training = UnsupervisedConfig().training
    assert set(TERMS_ON_CODES) == {key for key in type(training).model_fields if key.startswith("lambda_")}
    assert all(view in VIEWS for term in TERMS_ON_Y.values() for view in term.views)
    drawn = curves_of("unsupervised")["unsupervised_consistency_learning_curve.png"].terms
    assert set(drawn) == {term.name for term in TERMS_ON_Y.values()}


@pytest.mark.parametrize("key", WEIGHTS)
def test_a_term_is_built_where_its_key_is_above_0(key: str, variant: Variant) -> None:
    section = SemiSupervisedConfig if variant == "semi_supervised" else UnsupervisedConfig
    keys = {key: 0.25} if key not in ("lambda_balance", "lambda_over_clustering") else {"lambda_pairs": 1.0, key: 0.25}
    config = section.model_validate({"training": {"ema_decay": 0.9}, "consistency": keys})
    terms = {term.name: term for term in terms_on_y(config, networks())}
    names = {TERMS_ON_Y[on].name for on in keys}
    assert terms.keys() == names | ({"classification"} if variant == "semi_supervised" else set())
    assert terms[TERMS_ON_Y[key].name].weight == 0.25
    assert any(phase.name == "consistency" for phase in build_phases(networks(), config, teacher=None, memory=None))


@pytest.mark.parametrize("key", WEIGHTS)
def test_a_term_on_y_that_is_off_draws_nothing_and_trains_nothing(key: str) -> None:
    off = {key: 0.0} | ({"lambda_balance": 0.0, "lambda_over_clustering": 0.0} if key == "lambda_pairs" else {})
    phase, everything = a_phase(networks(), **CONSISTENCY | off), a_phase(networks(), **CONSISTENCY)
    needed = {view for term in phase.terms for view in term.views}
    assert list(phase.views) == [view for view in VIEWS if view in needed]
    assert (set(everything.views) - set(phase.views)) == {
        "lambda_pairs": {"partner"},
        "lambda_virtual_adversarial": {"adversarial"},
    }.get(key, set())
    assert ("over_clustering" in phase.trains) == (key not in ("lambda_over_clustering", "lambda_pairs"))
    assert (phase.memory is None) == (key == "lambda_pseudo_labels")


@pytest.mark.parametrize(
    ("terms", "unused"),
    [
        ({"lambda_pairs": 1.0}, ("labeled_images", "labels", "indices", "partner_indices")),
        ({"lambda_virtual_adversarial": 1.0}, ("partners", "partner_indices", "labeled_images", "labels", "indices")),
        ({"lambda_pseudo_labels": 1.0}, ("partners", "labeled_images", "labels")),
    ],
    ids=["pairs", "virtual_adversarial", "pseudo_labels"],
)
def test_what_only_other_terms_need_changes_no_loss_and_no_random_number(
    terms: dict[str, float], unused: tuple[str, ...]
) -> None:
    results = []
    for batch in (a_batch(), a_batch()._replace(**dict.fromkeys(unused))):
        phase = a_phase(networks(n_over_clusters=None), augmentation=1.0, **terms)
        torch.manual_seed(4)
        losses = {name: term.item() for name, term in PhaseRunner(phase, EAGER).run(batch).items()}
        results.append((losses, torch.get_rng_state().tolist(), phase.encoder.state_dict()))
    (losses, numbers, weights), (bare_losses, bare_numbers, bare_weights) = results
    assert losses == bare_losses
    assert numbers == bare_numbers
    assert all(torch.equal(value, bare_weights[name]) for name, value in weights.items())


def test_without_a_weight_no_term_on_codes_is_built() -> None:
    config = UnsupervisedConfig.model_validate({"training": {"lambda_z_l2_regularization": 0}})
    assert [term.name for term in phases_of(networks(), UnsupervisedConfig())[0].terms] == ["z_l2"]
    assert phases_of(networks(), config)[0].terms == []
    assert phases_of(networks(), SemiSupervisedConfig())[0].terms == []
