import copy

import pytest
import torch
from torch import Tensor

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, VariantConfig
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.phase import Phase
from aae_toolkit.training.phases import OPTIONAL_PHASES, build_phases
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.terms.memory import Memory
from aae_toolkit.training.weights import working_networks

EAGER = Runtime(torch.device("cpu"), "fp32", compile=False)
SWITCHES = {"use_mutual_info": True, "use_mode_decoder": True, "use_disentanglement": True}
CONSISTENCY = {
    "lambda_pairs": 1.0,
    "lambda_balance": 2.0,
    "lambda_over_clustering": 0.5,
    "lambda_virtual_adversarial": 1.0,
    "lambda_pseudo_labels": 1.0,
    "confidence": 0.0,
}
WITHOUT_CONSISTENCY = UnsupervisedConfig.model_validate({"training": SWITCHES})
ALL_TERMS = UnsupervisedConfig.model_validate({"training": SWITCHES | {"ema_decay": 0.9}, "consistency": CONSISTENCY})


def networks(
    seed: int = 0,
    *,
    mode_decoder: bool = True,
    n_over_clusters: int | None = 5,
    pseudo_label_head: bool = False,
    conditional_style_prior: bool = False,
    encoder: str = "mlp",
    dropout: float = 0.0,
) -> Networks:
    torch.manual_seed(seed)
    architecture = Architecture(
        encoder=encoder,
        hidden_size=8,
        conv_channels=(4, 8),
        encoder_dropout=dropout,
        image_shape=(1, 4, 4),
        n_classes=3,
        z_size=2,
    )
    return Networks(
        architecture,
        mode_decoder=mode_decoder,
        conditional_style_prior=conditional_style_prior,
        n_over_clusters=n_over_clusters,
        pseudo_label_head=pseudo_label_head,
    )


def teacher_of(nets: Networks) -> Encoder:
    """An average of one step."""
    return copy.deepcopy(nets.encoder).eval().requires_grad_(False)


def memory_for(config: VariantConfig) -> Memory | None:
    """Of twenty images."""
    terms = config.consistency
    return Memory(20, 3, terms.memory) if terms.lambda_pseudo_labels else None


def phases_of(nets: Networks, config: VariantConfig) -> list[Phase]:
    return build_phases(nets, config, teacher=teacher_of(nets), memory=memory_for(config))


def a_batch(n: int = 10) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3 * n, 1, 4, 4, generator=generator)
    labeled, partners, where = images[n : 2 * n], images[2 * n :], torch.arange(n)
    return Batch(images[:n], labeled, where % 3, partners, indices=where, partner_indices=where + n // 2)


def configs() -> list[VariantConfig]:
    return [SemiSupervisedConfig(), WITHOUT_CONSISTENCY, ALL_TERMS]


def all_phases() -> list[tuple[Networks, Phase]]:
    found = []
    for config in configs():
        for index in range(len(phases_of(networks(), config))):
            nets = networks()
            found.append((nets, phases_of(nets, config)[index]))
    return found


def snapshot(nets: Networks) -> dict[str, Tensor]:
    return copy.deepcopy(nets.state_dict())


@pytest.mark.parametrize(("nets", "phase"), all_phases(), ids=lambda v: v.name if isinstance(v, Phase) else "")
def test_a_phase_changes_its_own_parameters_all_of_its_networks_and_no_others(nets: Networks, phase: Phase) -> None:
    before = snapshot(nets)
    PhaseRunner(phase, EAGER).run(a_batch())
    changed = {name for name, value in nets.state_dict().items() if not torch.equal(value, before[name])}
    parameters = {name.partition(".")[0] for name in changed if name in dict(nets.named_parameters())}
    assert parameters == set(phase.trains)


@pytest.mark.parametrize(("nets", "phase"), all_phases(), ids=lambda v: v.name if isinstance(v, Phase) else "")
def test_running_statistics_move_only_in_phases_that_see_nothing_but_real_images(nets: Networks, phase: Phase) -> None:
    before = snapshot(nets)
    PhaseRunner(phase, EAGER).run(a_batch())
    moved = any("running_" in k and not torch.equal(v, before[k]) for k, v in nets.state_dict().items())
    sees_the_encoder = hasattr(phase, "encoder")
    assert moved == (sees_the_encoder and phase.updates_batch_norm)


def test_the_phase_that_encodes_reconstructions_leaves_running_statistics_alone() -> None:
    phase = next(p for p in build_phases(networks(), WITHOUT_CONSISTENCY) if p.name == "mutual_information")
    assert not phase.updates_batch_norm


def test_with_consistency_its_phase_alone_moves_running_statistics() -> None:
    assert [phase.name for phase in phases_of(networks(), ALL_TERMS) if phase.updates_batch_norm] == ["consistency"]


@pytest.mark.parametrize("switch", OPTIONAL_PHASES)
def test_a_disabled_term_is_not_built_and_leaves_the_others_and_the_random_stream_untouched(switch: str) -> None:
    names = {}
    after = {}
    for enabled in (True, False):
        config = ALL_TERMS.model_copy(update={"training": ALL_TERMS.training.model_copy(update={switch: enabled})})
        nets = networks()
        phases = phases_of(nets, config)
        names[enabled] = [p.name for p in phases]
        torch.manual_seed(3)
        for phase in phases:
            if phase.name != OPTIONAL_PHASES[switch][0].name:
                PhaseRunner(phase, EAGER).run(a_batch())
        after[enabled] = (nets.state_dict(), torch.get_rng_state())
    assert set(names[True]) - set(names[False]) == {OPTIONAL_PHASES[switch][0].name}
    assert torch.equal(after[True][1], after[False][1])
    assert all(torch.equal(v, after[False][0][k]) for k, v in after[True][0].items())


@pytest.mark.parametrize(("nets", "phase"), all_phases(), ids=lambda v: v.name if isinstance(v, Phase) else "")
def test_a_step_never_waits_for_the_device(nets: Networks, phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object) -> None:
        raise AssertionError("the step reads a tensor's value")

    runner = PhaseRunner(phase, EAGER)
    for reading in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, reading, wait)
    runner.run(a_batch())


def test_having_a_mode_decoder_or_a_second_head_leaves_the_other_initial_weights_as_they_are() -> None:
    everything = networks().state_dict()
    for without in (networks(n_over_clusters=None), networks(n_over_clusters=None, mode_decoder=False)):
        assert without.over_clustering is None
        assert all(torch.equal(everything[name], value) for name, value in without.state_dict().items())


def test_without_a_weight_the_z_penalty_is_no_term() -> None:
    config = UnsupervisedConfig.model_validate({"training": {"lambda_z_l2_regularization": 0}})
    terms = build_phases(networks(), config)[0](a_batch())
    assert set(terms) == {"reconstruction"}


def test_every_optimizer_follows_the_adam_switch() -> None:
    for use_adam, kind in ((True, torch.optim.AdamW), (False, torch.optim.SGD)):
        training = ALL_TERMS.training.model_copy(update={"use_adam_optimization": use_adam})
        phases = phases_of(networks(), ALL_TERMS.model_copy(update={"training": training}))
        assert len(phases) == 7
        assert {type(phase.optimizer) for phase in phases} == {kind}


def test_the_encoder_takes_any_shape_and_drops_out_where_the_configuration_says() -> None:
    nets = networks(dropout=0.5)
    nets.train()
    first, second = (nets.encoder(a_batch().images)[0] for _ in range(2))
    assert not torch.equal(first, second)
    nets.eval()
    first, second = (nets.encoder(a_batch().images)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_conv_phases_run_too() -> None:
    nets = networks(encoder="conv")
    for phase in phases_of(nets, ALL_TERMS):
        terms = PhaseRunner(phase, EAGER).run(a_batch())
        assert all(term.isfinite() for term in terms.values())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("use_adam", [True, False])
def test_where_the_loss_is_not_finite_the_step_is_not_taken(precision: str, use_adam: bool) -> None:
    nets = networks()
    training = {"use_adam_optimization": use_adam, "weight_decay": 0.1}
    config = SemiSupervisedConfig.model_validate({"training": training})
    working = working_networks(nets, torch.float16 if precision == "fp16" else torch.float32)
    runner = PhaseRunner(build_phases(working, config)[0], Runtime(torch.device("cpu"), precision, compile=False))
    before = dict(snapshot(nets).items())
    broken = a_batch()._replace(images=torch.full((10, 1, 4, 4), float("nan")))
    terms = runner.run(broken)
    assert terms["reconstruction"].isnan()
    assert all(torch.equal(value, before[name]) for name, value in nets.named_parameters())
    runner.run(a_batch())
    assert any(not torch.equal(value, before[name]) for name, value in nets.named_parameters())


def test_bf16_autocast_and_compiled_phases_agree_with_eager_fp32_to_their_precision() -> None:
    found = {}
    for name, runtime in {
        "fp32": EAGER,
        "bf16": Runtime(torch.device("cpu"), "bf16", compile=False),
        "compiled": Runtime(torch.device("cpu"), "fp32", compile=True),
    }.items():
        phase = build_phases(
            networks(), SemiSupervisedConfig.model_validate({"training": {"input_noise": 0, "augment_labeled": False}})
        )[3]
        found[name] = PhaseRunner(phase, runtime).run(a_batch())["classification"].item()
    assert found["compiled"] == pytest.approx(found["fp32"], rel=1e-4)
    assert found["bf16"] == pytest.approx(found["fp32"], rel=3e-2)


def test_weight_decay_is_decoupled_from_the_gradient() -> None:
    nets = networks()
    config = SemiSupervisedConfig.model_validate(
        {"training": {"weight_decay": 0.5}, "learning_rates": {"auto_encoder_lr": 0.1}}
    )
    phase = build_phases(nets, config)[0]
    before = snapshot(nets)
    for n_steps in (1, 2, 3):
        for weight in phase.trained:
            weight.grad = torch.zeros_like(weight)
        phase.optimizer.step()
        torch.testing.assert_close(nets.decoder.out.weight, (1 - 0.1 * 0.5) ** n_steps * before["decoder.out.weight"])
    assert torch.equal(nets.gaussian_discriminator.out.weight, before["gaussian_discriminator.out.weight"])


@pytest.mark.parametrize("adam", [True, False])
def test_a_learning_rate_of_style_is_for_zs_head_and_the_decoder_alone(adam: bool) -> None:
    rates = {"style_lr": 0.25, "auto_encoder_lr": 0.5, "generator_lr": 0.125}
    config = UnsupervisedConfig.model_validate(
        {"learning_rates": rates, "training": SWITCHES | {"use_adam_optimization": adam}}
    )
    for phase in build_phases(networks(), config):
        of_style = {
            name
            for group in phase.optimizer.param_groups
            for name, weight in zip(phase.trained_names, phase.trained, strict=True)
            if group["lr"] == group["initial_lr"] == 0.25 and any(weight is p for p in group["params"])
        }
        wanted = {"reconstruction": ("encoder.z_head", "decoder"), "generator": ("encoder.z_head",)}.get(phase.name)
        assert of_style == {name for name in phase.trained_names if wanted and name.startswith(wanted)}
        assert sum(len(group["params"]) for group in phase.optimizer.param_groups) == len(phase.trained)


def test_each_learning_rate_follows_the_schedule() -> None:
    config = UnsupervisedConfig.model_validate({"learning_rates": {"style_lr": 0.25, "auto_encoder_lr": 0.5}})
    runner = PhaseRunner(build_phases(networks(), config)[0], EAGER)
    runner.set_rate(0.5)
    assert {group["lr"] for group in runner.phase.optimizer.param_groups} == {0.125, 0.25}


def test_the_autoencoders_own_phases_are_as_rare_as_asked_and_the_others_are_not() -> None:
    for config in configs():
        rare = config.model_copy(update={"training": config.training.model_copy(update={"autoencoder_every": 3})})
        every = {phase.name: phase.every for phase in phases_of(networks(), rare)}
        assert {name for name, n in every.items() if n == 1} == {"classification", "consistency"} & every.keys()
        assert {every["reconstruction"], every["discriminator"], every["generator"]} == {3}
        assert {phase.every for phase in phases_of(networks(), config)} == {1}


CONDITIONAL = UnsupervisedConfig.model_validate({"training": {"use_conditional_style_prior": True}})


def test_a_conditional_style_prior_shows_the_gaussian_discriminator_the_category_too() -> None:
    seen = []
    nets = networks(conditional_style_prior=True)
    nets.gaussian_discriminator.register_forward_pre_hook(lambda _, codes: seen.append(codes[0]))
    discriminator, generator = (p for p in build_phases(nets, CONDITIONAL) if p.name in ("discriminator", "generator"))
    images = a_batch().images
    with torch.no_grad():
        y = nets.train().encoder(images)[0].softmax(dim=1)
    discriminator(Batch(images))
    generator(Batch(images))
    real, fake = seen[0].chunk(2)
    for codes in (real, fake, seen[1]):
        torch.testing.assert_close(codes[:, 2:], y)
    assert not torch.equal(real[:, :2], fake[:, :2])


def test_judging_style_with_its_category_teaches_the_category_nothing() -> None:
    nets = networks(conditional_style_prior=True)
    generator = next(p for p in build_phases(nets, CONDITIONAL) if p.name == "generator")
    generator(Batch(a_batch().images))["generator_gaussian"].backward()
    assert nets.encoder.y_head.weight.grad is None
    assert nets.encoder.z_head.weight.grad.abs().sum() > 0
