"""One step of a phase: the only place that knows autocast, compile, DDP, gradient scaling and finiteness.

A step never waits for the device: its losses and checks stay there until the training loop reads them.
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

_LEAST_SCALE = 2.0**-10  # fp16 gradient scale; it starts at 2^16 and halves at each gradient that is not finite


class PhaseRunner:
    """A phase that is ready to run on a runtime."""

    def __init__(self, phase: Phase, runtime: Runtime) -> None:
        """Compile the phase and distribute it over processes, as the runtime asks."""
        self.phase = phase
        self.runtime = runtime
        self.scaler = runtime.grad_scaler()
        phase.prepare()
        self.module = runtime.distribute(runtime.compiled(phase), ignored=phase.untrained_names())
        self.terms: tuple[str, ...] = ()  # names of the loss terms, once it has run
        self._batch: Batch | None = None  # the last one
        self._lost: Tensor | None = None  # bool [weights]: a gradient was not finite

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """Take one optimizer step and return the loss terms, detached.

        A step whose loss or gradient is not finite is skipped; the terms or `lost_gradients` show it.
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
        """Step the optimizer unless this process's loss or a gradient is not finite, without waiting for the device."""
        optimizer = self.phase.optimizer
        if self.scaler.is_enabled():  # it checks the gradients itself
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            weights = [master(weight) for weight in self.phase.trained]
            gradients = [weight.new_zeros(()) if weight.grad is None else weight.grad for weight in weights]
            lost = self.runtime.totals(gradients).isfinite().logical_not()
            self._lost = lost if self._lost is None else self._lost | lost
            not_finite = lost.any() | loss.isfinite().logical_not()
            optimizer.found_inf = not_finite.float()  # type: ignore[attr-defined]  # fused kernels read it
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def lost_gradients(self) -> list[str]:
        """Return the names of the weights whose gradient was not finite at some step; wait for the device.

        Gradient scaling skips a few such steps as a rule; they are faults only once the scale is below its least value.
        """
        if self.scaler.is_enabled():
            return self.phase.trained_names if self.scaler.get_scale() < _LEAST_SCALE else []
        if self._lost is None:
            return []
        return [name for name, lost in zip(self.phase.trained_names, self._lost.tolist(), strict=True) if lost]

    def guilty_terms(self) -> list[str]:
        """Return the loss terms whose own gradient on the last batch is not finite; if there are none, all terms."""
        assert self._batch is not None
        self.phase.prepare()
        with self.runtime.autocast():
            terms = self.phase(self._batch)
        names = []
        for name, term in terms.items():
            if term.requires_grad:
                parts = torch.autograd.grad(term, self.phase.trained, retain_graph=True, allow_unused=True)
                if not self.runtime.totals([part for part in parts if part is not None]).isfinite().all():
                    names.append(name)
        return names or list(terms)

    def set_rate(self, factor: float) -> None:
        """Set every learning rate to `factor` times the configured one."""
        for group in self.phase.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def state_dict(self, *, with_optimizer: bool = True) -> dict[str, object]:
        """Return the state of the memory and, with them, of optimizer and gradient scaling, for a checkpoint."""
        memory = self.phase.memory
        state: dict[str, object] = {"memory": memory.state_dict()} if memory else {}
        if with_optimizer:
            state |= {"optimizer": self.phase.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, dict[str, Any]], *, with_optimizer: bool = True) -> None:
        """Restore what `state_dict` returned; without the optimizer, earlier versions kept no memory either."""
        if self.phase.memory and (with_optimizer or "memory" in state):
            self.phase.memory.load_state_dict(state["memory"])
        if with_optimizer:
            self.phase.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])


def rate_factor(schedule: ScheduleConfig, epoch: float, n_epochs: int) -> float:
    """Compute the factor of all learning rates at a point of the run, in [0, 1]; pure, so a resumed run needs no state.

    Args:
        schedule: kind of the schedule, and its numbers.
        epoch: epochs done, with the fraction of the running one.
        n_epochs: epochs of the whole run.
    """
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    if schedule.kind == "cosine":
        done = (epoch - schedule.warmup_epochs) / max(n_epochs - schedule.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if schedule.kind == "multistep":
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    return 1.0
