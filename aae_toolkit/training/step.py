"""Running one phase: the only place that knows autocast, compilation, gradient scaling and finiteness."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aae_toolkit.config import ScheduleConfig
from aae_toolkit.errors import AaeError
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.device import Runtime
from aae_toolkit.training.phases import Phase


class PhaseRunner:
    """A phase, ready to run on a runtime."""

    def __init__(self, phase: Phase, runtime: Runtime) -> None:
        """Compile the phase where the runtime says so."""
        self.phase = phase
        self.runtime = runtime
        self.scaler = runtime.grad_scaler()
        if runtime.compile:
            phase.compile()

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """Take one optimizer step and return the loss terms, detached.

        Raises:
            AaeError: a term is not finite; the step is not taken.
        """
        phase, optimizer = self.phase, self.phase.optimizer
        phase.prepare()
        with self.runtime.autocast():
            terms = phase(batch)
        loss = torch.stack(list(terms.values())).sum()
        if not loss.isfinite():
            raise AaeError(_explain_loss(phase.name, terms))
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()
        return {name: term.detach() for name, term in terms.items()}

    def set_rate(self, factor: float) -> None:
        """Set every learning rate to `factor` times the configured one."""
        for group in self.phase.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def state_dict(self) -> dict[str, object]:
        """Optimizer and gradient scaling, for a checkpoint."""
        return {"optimizer": self.phase.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Restore what `state_dict` returned."""
        self.phase.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def rate_factor(schedule: ScheduleConfig, epoch: float, n_epochs: int) -> float:
    """Learning-rate factor in [0, 1] at a point of the run, a pure function so that a resumed run needs no state.

    Args:
        schedule: kind and its numbers.
        epoch: epochs done, with the fraction of the running one.
        n_epochs: length of the run.
    """
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    if schedule.kind == "cosine":
        done = (epoch - schedule.warmup_epochs) / max(n_epochs - schedule.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if schedule.kind == "multistep":
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    return 1.0


def _explain_loss(phase: str, terms: dict[str, Tensor]) -> str:
    found = ", ".join(f"{name} = {term.item():g}" for name, term in terms.items())
    return f"training stopped: the loss of phase {phase} is not finite ({found}); lower its learning rate, or use fp32"
