"""Which device, which precision, compiled or not: the only module of training with lines for one kind of hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from aae_toolkit.config import Precision, TrainingConfig
from aae_toolkit.device import resolve_device

ResolvedPrecision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Where and how phases run."""

    device: torch.device
    precision: ResolvedPrecision
    compile: bool

    def autocast(self) -> torch.autocast:
        """Context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision], enabled=self.precision != "fp32")

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Gradient scaling, active for fp16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def resolve_runtime(device: str, training: TrainingConfig) -> Runtime:
    """Resolve `auto` choices against this machine.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        training: for `precision` and `compile`.

    Raises:
        DeviceError: a device that is not there.
        UsageError: a device that is not a name of one.
    """
    resolved = resolve_device(device)
    compile_pays = resolved.type == "cuda"  # on CPU it costs 17-30 s and gains nothing measurable
    return Runtime(
        device=resolved,
        precision=_resolve_precision(training.precision, resolved),
        compile=compile_pays if training.compile is None else training.compile,
    )


def _resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """`auto` is bf16 where the hardware multiplies in it, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the random streams that a run on `device` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set the random streams to what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
