import pytest
import torch

from aae_toolkit.config import ScheduleConfig, TrainingConfig
from aae_toolkit.errors import DeviceError, UsageError
from aae_toolkit.training.device import resolve_device, resolve_runtime
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
