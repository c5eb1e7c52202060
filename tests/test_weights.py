import copy

import pytest
import torch
from test_phases import a_batch, networks

from aae_toolkit.config import SemiSupervisedConfig
from aae_toolkit.training.device import Runtime
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.weights import master, refresh, working_networks

CPU = torch.device("cpu")


@pytest.mark.parametrize("encoder", ["mlp", "conv"])
def test_a_bf16_step_on_copies_is_the_step_that_autocast_takes_on_the_weights(encoder: str) -> None:
    nets = networks(encoder=encoder)
    by_autocast = copy.deepcopy(nets)
    working = working_networks(nets, torch.bfloat16)
    for theirs, ours in zip(
        build_phases(by_autocast, SemiSupervisedConfig()), build_phases(working, SemiSupervisedConfig()), strict=True
    ):
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
