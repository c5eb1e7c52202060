import os

import pytest
import torch
from refusals import refused

from aae_toolkit.config import ScheduleConfig, TrainingConfig
from aae_toolkit.errors import DeviceError, UsageError
from aae_toolkit.training.runtime import Runtime, resolve_device, resolve_runtime
from aae_toolkit.training.step import rate_factor


def test_cosine_falls_from_one_to_zero() -> None:
    schedule = ScheduleConfig(kind="cosine")
    factors = [rate_factor(schedule, epoch, 10) for epoch in (0, 2.5, 5, 7.5, 10)]
    assert factors == pytest.approx([1, 0.8536, 0.5, 0.1464, 0], abs=1e-4)


def test_warm_up_rises_linearly_before_the_rest() -> None:
    schedule = ScheduleConfig(kind="constant", warmup_epochs=2)
    assert [rate_factor(schedule, epoch, 10) for epoch in (0, 0.5, 1, 2, 9)] == [0, 0.25, 0.5, 1, 1]


def test_multistep_multiplies_by_gamma_at_each_milestone() -> None:
    schedule = ScheduleConfig(kind="multistep", milestones=(3, 5), gamma=0.1)
    assert [rate_factor(schedule, epoch, 10) for epoch in (2.9, 3, 5)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize("device", ["banana", "cpu:x", "meta", "mps:0:1"])
def test_a_device_that_is_none_is_wrong_usage(device: str) -> None:
    with pytest.raises(UsageError, match="choose auto, cpu, cuda"):
        resolve_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_said_with_what_is() -> None:
    with pytest.raises(DeviceError, match="0 CUDA devices found"):
        resolve_runtime("cuda", TrainingConfig())


def test_auto_precision_is_bf16_only_where_the_processor_multiplies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, expected in (({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert resolve_runtime("cpu", TrainingConfig()).precision == expected


def test_compilation_is_off_on_cpu_unless_asked_for() -> None:
    assert not resolve_runtime("cpu", TrainingConfig()).compile
    assert resolve_runtime("cpu", TrainingConfig(compile=True)).compile


def test_a_total_is_not_finite_where_an_element_is_not() -> None:
    runtime = Runtime(torch.device("cpu"), "fp32", compile=False)
    tensors = [torch.ones(3, 2), torch.tensor([1.0, float("nan")]), torch.tensor([float("inf"), -float("inf"), 1.0])]
    assert runtime.totals(tensors).isfinite().tolist() == [True, False, False]


def test_deterministic_algorithms_are_asked_for_while_training_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    for deterministic in (False, True):
        runtime = resolve_runtime("cpu", TrainingConfig(deterministic=deterministic))
        with runtime.at_full_speed():
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_cannot_be_done_deterministically_is_one_line() -> None:
    runtime = Runtime(torch.device("cpu"), "fp32", compile=False, deterministic=True)
    with refused("--deterministic: max_pool_backward", "leave --deterministic out"), runtime.at_full_speed():
        raise RuntimeError("max_pool_backward does not have a deterministic implementation, but you set\n'torch.use'")
    with pytest.raises(RuntimeError, match="another"), runtime.at_full_speed():
        raise RuntimeError("another")
