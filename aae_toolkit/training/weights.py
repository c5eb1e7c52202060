"""Weights in two precisions, and their average: phases run on bf16 or fp16 copies, optimizers step float32 masters.

Autocast alone would cast every weight in every phase, and every gradient back. Here a weight is cast once after each
change, with the same result. BatchNorm stays in float32 and is shared, including its statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aae_toolkit.models.networks import Networks


def working_networks(networks: Networks, dtype: torch.dtype) -> Networks:
    """Return the networks that phases run on: `networks` itself in float32, else a copy with layers of type `dtype`.

    Each weight of the copy has the weight it was copied from as attribute `master`.
    """
    if dtype == torch.float32:
        return networks
    shared = {id(module): module for module in networks.modules() if isinstance(module, _BatchNorm)}
    working = copy.deepcopy(networks, memo=shared)
    for module in working.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
    for weight, master in zip(working.parameters(), networks.parameters(), strict=True):
        if weight is not master:
            weight.master = master  # type: ignore[attr-defined]
    return working


def master(weight: Tensor) -> Tensor:
    """Return the float32 weight that an optimizer steps for `weight`, which may be `weight` itself."""
    return getattr(weight, "master", weight)


def hand_over_gradients(weights: Iterable[Tensor]) -> None:
    """Move the gradients of working weights to their masters."""
    for weight in weights:
        if master(weight) is not weight:
            master(weight).grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None


@torch.no_grad()
def refresh(weights: Iterable[Tensor]) -> None:
    """Copy the masters to their working weights."""
    stale: list[Tensor] = [weight for weight in weights if master(weight) is not weight]
    if stale:
        fresh: list[Tensor] = [master(weight) for weight in stale]
        torch._foreach_copy_(stale, fresh)


@torch.no_grad()
def average_in(average: Networks, networks: Networks, decay: float, n_steps: int) -> None:
    """Update the EMA of weights and BatchNorm statistics after step number `n_steps`.

    In the first steps the decay is below `decay`, so that the average forgets the initial weights sooner.
    """
    decay = min(decay, (1 + n_steps) / (10 + n_steps))
    pairs = zip(average.state_dict().values(), networks.state_dict().values(), strict=True)
    averages, values = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
    torch._foreach_lerp_(averages, values, 1 - decay)
