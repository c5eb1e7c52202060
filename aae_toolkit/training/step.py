"""Running one phase: the only place that knows autocast, compilation, several processes, gradient scaling, finiteness.

Nothing here waits for the device: what a step finds out stays there until the trainer reads it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from aae_toolkit.config import ScheduleConfig
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.phase import Phase
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.weights import hand_over_gradients, master, refresh

_LEAST_SCALE = 2.0**-10  # of fp16 gradients, which begins at 2^16 and halves where one is not finite


class PhaseRunner:
    """A phase, ready to run on a runtime."""

    def __init__(self, phase: Phase, runtime: Runtime) -> None:
        """Compile the phase and spread it over processes, where the runtime says so."""
        self.phase = phase
        self.runtime = runtime
        self.scaler = runtime.grad_scaler()
        phase.prepare()
        self.module = runtime.distribute(runtime.compiled(phase), ignored=phase.untrained_names())
        self.terms: tuple[str, ...] = ()  # of its loss, once it has run
        self._batch: Batch | None = None  # the last one
        self._lost: Tensor | None = None  # bool [weights]: whose gradient has not been finite

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """Take one optimizer step and return the loss terms, detached.

        Where the loss or a gradient is not finite the step is not taken; the terms or `lost_gradients` tell.
        """
        phase = self.phase
        phase.prepare()
        self.runtime.mark_step()
        with self.runtime.autocast():
            terms = self.module(batch)
        values = torch.stack(list(terms.values()))
        loss = values.sum()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        hand_over_gradients(phase.trained)
        self._step(loss.detach())
        refresh(phase.trained)
        self.terms, self._batch = tuple(terms), batch
        return dict(zip(terms, values.detach().unbind(), strict=True))

    def _step(self, loss: Tensor) -> None:
        """Step the optimizer, unless this process's loss or a gradient is not finite; nothing waits."""
        optimizer = self.phase.optimizer
        if self.scaler.is_enabled():  # it looks at the gradients itself
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            weights = [master(weight) for weight in self.phase.trained]
            gradients = [weight.new_zeros(()) if weight.grad is None else weight.grad for weight in weights]
            lost = self.runtime.totals(gradients).isfinite().logical_not()
            self._lost = lost if self._lost is None else self._lost | lost
            found = lost.any() | loss.isfinite().logical_not()
            optimizer.found_inf = found.float()  # type: ignore[attr-defined]  # fused kernels read it
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def lost_gradients(self) -> list[str]:
        """Names of the weights whose gradient has not been finite at some step; waits for the device.

        With gradient scaling a few such steps are usual: only where the scale has fallen to nothing are they faults.
        """
        if self.scaler.is_enabled():
            return self.phase.trained_names if self.scaler.get_scale() < _LEAST_SCALE else []
        if self._lost is None:
            return []
        return [name for name, lost in zip(self.phase.trained_names, self._lost.tolist(), strict=True) if lost]

    def guilty_terms(self) -> list[str]:
        """The loss terms whose own gradient on the last batch is not finite; all where that batch shows none."""
        assert self._batch is not None
        self.phase.prepare()
        with self.runtime.autocast():
            terms = self.phase(self._batch)
        found = []
        for name, term in terms.items():
            if term.requires_grad:
                parts = torch.autograd.grad(term, self.phase.trained, retain_graph=True, allow_unused=True)
                if not self.runtime.totals([part for part in parts if part is not None]).isfinite().all():
                    found.append(name)
        return found or list(terms)

    def set_rate(self, factor: float) -> None:
        """Set every learning rate to `factor` times the configured one."""
        for group in self.phase.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def state_dict(self) -> dict[str, object]:
        """Optimizer, gradient scaling and the phase's memory, for a checkpoint."""
        memory = self.phase.memory
        return {
            "optimizer": self.phase.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "memory": memory.state_dict() if memory else {},
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        if self.phase.memory:
            self.phase.memory.load_state_dict(state["memory"])
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
