"""Two real processes over gloo; what they compute is compared with one process that sees the whole batch."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_MODEL, tiny_config
from fault_child import forked
from safetensors.torch import load_file
from test_phases import networks, phases_of
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, VariantConfig
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.distributed.batch_norm import SynchronizedBatchNorm, synchronize_batch_norm
from aae_toolkit.distributed.collectives import (
    batch_mean,
    gather_batch,
    process_group,
)
from aae_toolkit.distributed.world import ALONE, World, world_from_environment
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Silent
from aae_toolkit.training import losses, phases
from aae_toolkit.training.batches import Batch, Batches
from aae_toolkit.training.neighbors import nearest_neighbors
from aae_toolkit.training.run import Run
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.setup import build_batches
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.terms.memory import Memory
from aae_toolkit.training.trainer import train
from aae_toolkit.training.weights import average_in, master, working_networks

CPU = torch.device("cpu")
QUIET = {"input_noise": 0.0, "ema_decay": 0.9}  # what is drawn at random differs between processes
TERMS = {
    "augmentation": 0.0,
    "lambda_pairs": 1.0,
    "lambda_balance": 2.0,
    "lambda_pseudo_labels": 0.5,
    "confidence": 0.36,
}
CONFIGS: list[VariantConfig] = [
    SemiSupervisedConfig.model_validate({"training": QUIET | {"augment_labeled": False}}),
    UnsupervisedConfig.model_validate({"training": QUIET | {"use_mutual_info": True, "use_mode_decoder": True}}),
    SemiSupervisedConfig.model_validate(
        {
            "training": QUIET,
            "consistency": TERMS | {"lambda_over_clustering": 0.5, "lambda_virtual_adversarial": 1.0},
        }
    ),
]

# Compiling takes its time: the phases with a batch mean of their own are enough.
COMPILED_CONFIGS: list[VariantConfig] = [
    UnsupervisedConfig.model_validate({"training": QUIET | {"use_disentanglement": False}, "consistency": TERMS}),
]


def run_ranks(job: Any, n: int, *arguments: Any) -> None:
    """Run `job(*arguments)` in `n` processes that know each other as torchrun's do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [forked(_rank, job, rank, n, port, arguments) for rank in range(n)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
    assert [process.exitcode for process in ranks] == [0] * n


def _rank(job: Any, rank: int, size: int, port: int, arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    world = world_from_environment()
    with process_group(world, "gloo"):
        job(world, *arguments)


def whole_batch(n: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3 * n, 1, 4, 4, generator=generator)
    labeled, partners, where = images[n : 2 * n], images[2 * n :], torch.arange(n)
    return Batch(images[:n], labeled, where % 3, partners, indices=where + 3, partner_indices=where.flip(0) + 5)


def share(batch: Batch, world: World) -> Batch:
    return Batch(*(None if part is None else part[world.rank :: world.size] for part in batch))


def gradients(world: World, config: VariantConfig, *, compile: bool, encoder: str) -> dict[str, Tensor]:  # noqa: A002
    """Gradients of every phase on this process's share, and the running statistics after them."""
    nets = networks(encoder=encoder)
    if world.size > 1:
        synchronize_batch_norm(nets)
    runtime = Runtime(CPU, "fp32", compile=compile, world=world)
    found: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda t, dtype=None: torch.ones_like(t, dtype=dtype))
        patch.setattr(
            losses,
            "sample_categories",
            lambda weights, n: F.one_hot(torch.zeros(n, dtype=torch.long), len(weights)).float() * weights,
        )
        for phase in phases_of(nets, config):
            runner = PhaseRunner(phase, runtime)
            patch.setattr(
                runner,
                "_step",
                lambda loss, phase=phase: found.update(
                    {f"{phase.name} {i}": p.grad.clone() for i, p in enumerate(phase.trained) if p.grad is not None}
                ),
            )
            for _ in range(2):  # DDP's first backward is unlike its others
                phase.optimizer.zero_grad()
                runner.run(share(whole_batch(), world))
            if phase.memory is not None:
                found.update((f"{phase.name} {name}", buffer) for name, buffer in phase.memory.named_buffers())
    return found | {name: buffer.clone() for name, buffer in nets.named_buffers()}


def _save_gradients(world: World, path: Path, compile: bool, encoder: str) -> None:  # noqa: A002
    configs = COMPILED_CONFIGS if compile else CONFIGS
    found = [gradients(world, config, compile=compile, encoder=encoder) for config in configs]
    torch.save(found, path / f"{world.rank}.pt")


@pytest.mark.parametrize(
    ("compiled", "encoder"),
    [(False, "mlp"), (False, "conv"), pytest.param(True, "mlp", marks=pytest.mark.slow)],
)
def test_two_processes_have_the_gradients_of_one_that_sees_the_whole_batch(
    compiled: bool, encoder: str, tmp_path: Path
) -> None:
    run_ranks(_save_gradients, 2, tmp_path, compiled, encoder)
    configs = COMPILED_CONFIGS if compiled else CONFIGS
    alone = [gradients(ALONE, config, compile=False, encoder=encoder) for config in configs]
    for rank in range(2):
        for expected, found in zip(alone, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            for name, value in expected.items():
                difference = (found[name] - value).float().norm() / value.float().norm().clamp_min(1e-6)
                assert difference < 1e-3, name  # rounding, which BatchNorm magnifies where pictures are nearly equal


def _save_statistics(world: World, path: Path) -> None:
    values = torch.arange(12.0).view(6, 2).requires_grad_()
    mean = batch_mean(values[world.rank :: 2])
    mean.square().sum().backward()
    norm = SynchronizedBatchNorm(3)
    images = torch.linspace(0, 9, 6 * 3 * 5 * 5).view(6, 3, 5, 5).sin()[world.rank :: 2]
    normalized = norm(images + 100)  # far from zero: digits must not be lost
    torch.save((mean, values.grad, normalized, norm.running_mean, norm.running_var), path / f"{world.rank}.pt")


def test_statistics_are_of_the_whole_batch(tmp_path: Path) -> None:
    run_ranks(_save_statistics, 2, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    values = torch.arange(12.0).view(6, 2).requires_grad_()
    values.mean(dim=0).square().sum().backward()
    norm = nn.BatchNorm2d(3)
    normalized = norm(torch.linspace(0, 9, 6 * 3 * 5 * 5).view(6, 3, 5, 5).sin() + 100)
    for rank, (mean, gradient, found, running_mean, running_var) in enumerate(parts):
        torch.testing.assert_close(mean, values.mean(dim=0))
        torch.testing.assert_close(gradient[rank::2] / 2, values.grad[rank::2])  # DDP divides by the processes
        torch.testing.assert_close(found, normalized[rank::2], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(running_mean, norm.running_mean)
        torch.testing.assert_close(running_var, norm.running_var)


def _save_gathered(world: World, path: Path) -> None:
    rows = torch.arange(12).view(6, 2)
    memory = Memory(9, 2, decay=0.8)
    for _ in range(3):
        memory.add(torch.arange(6)[world.rank :: 2], rows[world.rank :: 2].float())
    found = gather_batch(rows[:, 1][world.rank :: 2]), gather_batch(rows.float()[world.rank :: 2]), memory.state_dict()
    torch.save(found, path / f"{world.rank}.pt")


def test_shares_are_gathered_one_after_the_other_and_each_process_remembers_all_of_them(tmp_path: Path) -> None:
    run_ranks(_save_gathered, 2, tmp_path)
    rows = torch.arange(12).view(6, 2)
    in_turn = torch.cat([rows[0::2], rows[1::2]])
    for rank in range(2):
        integers, floats, memory = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(integers, in_turn[:, 1])
        assert torch.equal(floats, in_turn.float())
        assert memory["n_looks"].tolist() == [3] * 6 + [0] * 3
        torch.testing.assert_close(memory["y"][:6], rows.float())


def test_alone_the_batch_is_the_share() -> None:
    rows = torch.arange(12).view(6, 2)
    assert gather_batch(rows) is rows


def trained(world: World) -> dict[str, Tensor]:
    """All that four epochs of the consistency phase leave behind: weights, their average, what is remembered."""
    config = SemiSupervisedConfig.model_validate(
        {
            "training": QUIET | {"use_adam_optimization": False},  # Adam magnifies the rounding of gradients near zero
            "consistency": TERMS | {"looks_to_trust": 2},
            "learning_rates": {"consistency_lr": 0.05},
        }
    )
    rng = np.random.default_rng(0)
    unlabeled = Split(rng.integers(0, 256, (40, 1, 4, 4), dtype=np.uint8), np.full(40, -1))
    labeled = Split(rng.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8), np.arange(12) % 3)
    neighbors = nearest_neighbors(unlabeled.images, 3, CPU, world=world)
    batches = Batches(unlabeled, labeled, 10, 0, CPU, labeled_batch_size=4, neighbors=np.sort(neighbors), world=world)
    nets = networks(n_over_clusters=None)
    if world.size > 1:
        synchronize_batch_norm(nets)
    average = copy.deepcopy(nets).eval().requires_grad_(False)
    memory = Memory(40, 3, config.consistency.memory)
    phase = phases.build_phases(nets, config, teacher=average.encoder, memory=memory)[-1]
    runner = PhaseRunner(phase, Runtime(CPU, "fp32", compile=False, world=world))
    for step, batch in enumerate(batch for epoch in range(4) for batch in batches.epoch(epoch)):
        runner.run(batch)
        average_in(average, nets, 0.9, step + 1)
    parts = {"weights": nets, "average": average, "memory": phase.memory}
    return {f"{part} {name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def _save_trained(world: World, path: Path) -> None:
    torch.save(trained(world), path / f"{world.rank}.pt")


def test_two_processes_learn_and_remember_what_one_does(tmp_path: Path) -> None:
    run_ranks(_save_trained, 2, tmp_path)
    alone = trained(ALONE)
    assert alone["memory n_looks"].tolist() == [4] * 40
    assert not torch.equal(alone["weights encoder.y_head.weight"], networks().encoder.y_head.weight)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_low_precision_gradients_travel_and_reach_the_masters(tmp_path: Path) -> None:
    run_ranks(_train_bf16, 2, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["decoder.out.weight"].dtype == torch.float32


def _train_bf16(world: World, path: Path) -> None:
    nets = networks()
    synchronize_batch_norm(nets)
    working = working_networks(nets, torch.bfloat16)
    assert master(working.decoder.out.weight) is nets.decoder.out.weight
    before = nets.decoder.out.weight.clone()
    for phase in phases.build_phases(working, CONFIGS[0]):
        PhaseRunner(phase, Runtime(CPU, "bf16", compile=False, world=world)).run(share(whole_batch(), world))
    assert not torch.equal(before, nets.decoder.out.weight)
    torch.save(nets.state_dict(), path / f"{world.rank}.pt")


def torchrun(*arguments: object, n: int = 2, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", n]
    everything = [*command, "-m", "aae_toolkit", "train", *arguments, "--device", "cpu"]
    return subprocess.Popen(
        [str(part) for part in everything], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    return out


def weights(directory: Path) -> dict[str, Tensor]:
    return {f"{p.name}:{k}": v for p in sorted(directory.glob("*.safetensors")) for k, v in load_file(p).items()}


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    training = {"n_epochs": 8, "batch_size": 10, "precision": "fp32", "ema_decay": 0.9, "autoencoder_every": 2}
    terms = TERMS | {"augmentation": 1.0, "n_neighbors": 3, "lambda_over_clustering": 0.5}
    terms |= {"lambda_virtual_adversarial": 0.5}
    content = {"model": TINY_MODEL, "training": training, "consistency": terms}
    (tmp_path / "tiny.yaml").write_text(json.dumps({"semi_supervised": content}))
    return tmp_path / "tiny.yaml"


@pytest.mark.slow
def test_torchrun_trains_one_model_stops_at_sigterm_and_resumes_to_the_same_weights(
    data_dir: Path, tmp_path: Path, config_path: Path
) -> None:
    command = ("semi-supervised", "--data", data_dir, "--config", config_path, "--checkpoint-every", 4)
    out = finished(torchrun(*command, "--output", tmp_path / "whole"))
    assert out.count("epoch 1/8") == 1
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 9))

    cut = torchrun(*command, "--output", tmp_path / "cut")
    while not (tmp_path / "cut" / "checkpoint.pt").exists():
        assert cut.poll() is None
        time.sleep(0.02)
    cut.send_signal(signal.SIGTERM)
    _, err = cut.communicate(timeout=60)
    assert "stopped by SIGTERM in epoch" in err
    assert not (tmp_path / "cut" / "model.json").exists()
    finished(torchrun(*command, "--output", tmp_path / "cut", "--resume"))
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") == 8
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    shutil.rmtree(tmp_path / "cut")
    alone = train(tiny_config("semi_supervised"), DataDirectory(data_dir), tmp_path / "cut", device="cpu")
    assert alone.class_names  # this process never joined the others


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [({}, "--batch-size 16"), ({"batch_size": 18, "labeled_batch_size": 16}, "labeled_batch_size 16")],
)
def test_a_batch_that_the_processes_cannot_share_is_refused(
    sizes: dict[str, int], refused: str, data_dir: Path, tmp_path: Path
) -> None:
    runtime = Runtime(CPU, "fp32", compile=False, world=World(0, 3, 0))
    run = Run(tiny_config("semi_supervised", **sizes), DataDirectory(data_dir), runtime, tmp_path, Silent())
    with pytest.raises(UsageError, match=f"^{refused} is of all 3 processes together; give a multiple of 3$"):
        build_batches(run)
