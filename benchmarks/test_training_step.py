"""One training step (every phase once) of each variant, at the shipped configurations."""

import pytest
import torch

from aae_toolkit.config import load_config, with_flags
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.device import resolve_runtime
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.step import PhaseRunner


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("variant", "name"), [("semi_supervised", "seed"), ("unsupervised", "seed"), ("unsupervised", "quick")]
)
def test_step(facts, variant: str, name: str, precision: str) -> None:
    config = with_flags(load_config(name, variant), precision=precision)
    model = config.model.model_copy(update={"n_classes": config.model.n_classes or 10})
    networks = Networks(Architecture(image_shape=(1, 28, 28), **model.model_dump()), mode_decoder=False)
    networks.train()
    runtime = resolve_runtime("cpu", config.training)
    runners = [PhaseRunner(phase, runtime) for phase in build_phases(networks, config)]
    n = config.training.batch_size
    batch = Batch(torch.rand(n, 1, 28, 28), torch.rand(n, 1, 28, 28), torch.arange(n) % 10)

    def step() -> None:
        for runner in runners:
            runner.run(batch)

    facts.group = f"training step, {variant}, configs/{name}.yaml"
    facts.extra_info |= {"precision": precision, "batch_size": n, "phases": [r.phase.name for r in runners]}
    facts.pedantic(step, rounds=10, warmup_rounds=2)
