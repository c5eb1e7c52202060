import copy

import pytest
import torch
from test_phases import CONSISTENCY, a_batch, memory_for, networks, phases_of, teacher_of

from aae_toolkit.config import SemiSupervisedConfig
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.weights import average_in, master, refresh, working_networks

CPU = torch.device("cpu")


@pytest.mark.parametrize("consistency", [{}, CONSISTENCY], ids=["without", "with"])
@pytest.mark.parametrize("encoder", ["mlp", "conv"])
def test_a_bf16_step_on_copies_is_the_step_that_autocast_takes_on_the_weights(encoder: str, consistency: dict) -> None:
    config = SemiSupervisedConfig.model_validate({"training": {"ema_decay": 0.9}, "consistency": consistency})
    nets = networks(encoder=encoder)
    by_autocast = copy.deepcopy(nets)
    working = working_networks(nets, torch.bfloat16)
    phases = build_phases(working, config, teacher=teacher_of(nets), memory=memory_for(config))
    for theirs, ours in zip(phases_of(by_autocast, config), phases, strict=True):
        torch.manual_seed(0)
        PhaseRunner(ours, Runtime(CPU, "bf16", compile=False)).run(a_batch())
        torch.manual_seed(0)
        theirs.prepare()
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.stack(list(theirs(a_batch()).values())).sum()
        theirs.optimizer.zero_grad()
        loss.backward()
        theirs.optimizer.step()
        for name, value in by_autocast.state_dict().items():
            assert torch.equal(nets.state_dict()[name], value), (theirs.name, name)


def test_in_float32_there_is_no_copy() -> None:
    nets = networks()
    assert working_networks(nets, torch.float32) is nets
    assert master(nets.decoder.out.weight) is nets.decoder.out.weight


def test_copies_share_batch_norm_and_follow_their_masters_when_refreshed() -> None:
    nets = networks()
    working = working_networks(nets, torch.bfloat16)
    norms = [module for module in nets.encoder.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert norms
    assert [m for m in working.encoder.modules() if isinstance(m, torch.nn.BatchNorm1d)] == norms
    assert working.decoder.out.weight.dtype == torch.bfloat16
    with torch.no_grad():
        nets.decoder.out.weight.fill_(2)
    refresh(working.parameters())
    assert (working.decoder.out.weight == 2).all()


def filled(nets: Networks, value: float) -> Networks:
    for tensor in nets.state_dict().values():
        tensor.fill_(value)
    return nets


@pytest.mark.parametrize("decay", [0.2, 0.5, 0.999])
def test_the_average_is_exponential_and_faster_early_on(decay: float) -> None:
    average, expected = filled(networks(), 7.0), 7.0
    for step in range(1, 13):
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step**2
        average_in(average, filled(networks(), step**2), decay, step)
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, torch.full_like(value, expected), rtol=1e-5, atol=1e-5, msg=name)


def test_of_weights_that_stay_the_average_forgets_where_it_started() -> None:
    average, nets = filled(networks(), 1.0), filled(networks(), 3.0)
    average_in(average, nets, 0.999, 1)
    assert average.decoder.out.weight[0, 0].item() == pytest.approx(3 - 2 * 2 / 11)  # not 3 - 2 * 0.999
    for _ in range(30):
        average_in(average, nets, 0.5, 1000)
    torch.testing.assert_close(average.decoder.out.weight, nets.decoder.out.weight)


def test_the_average_is_of_statistics_too_but_not_of_counts_and_leaves_the_networks_alone() -> None:
    average, nets = filled(networks(), 4.0), filled(networks(), 2.0)
    average_in(average, nets, 0.0, 1)
    found = average.state_dict()
    assert any(name.endswith("running_mean") for name in found)
    for name, value in found.items():
        expected = 4 if name.endswith("num_batches_tracked") else 2
        assert torch.equal(value, torch.full_like(value, expected)), name
    assert all(torch.equal(value, torch.full_like(value, 2)) for value in nets.state_dict().values())
