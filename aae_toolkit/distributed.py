"""What several processes do together: meet, agree, and take statistics over the whole batch.

Each process sees its share of every batch, all shares of one size. Alone, each function here does nothing, or returns
what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_reduce  # has a gradient, also compiled
from torch.nn.modules.batchnorm import _BatchNorm

from aae_toolkit.launch import World

T = TypeVar("T")


@contextmanager
def process_group(world: World, backend: str) -> Iterator[None]:
    """Meet the other processes of `world`; tensors travel by `backend`."""
    if world.size == 1:
        yield
        return
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_alone() -> bool:
    """Whether no other process takes part."""
    return not dist.is_initialized()


def wait_for_all() -> None:
    """Return once every process has come here."""
    if not is_alone():
        dist.barrier()


def largest(value: int) -> int:
    """The largest of the processes' values, on each of them."""
    if is_alone():
        return value
    box = torch.tensor(value)
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


def from_main(produce: Callable[[], T]) -> T:
    """What `produce` returns in the main process, on each of them; the others do not call it."""
    if is_alone():
        return produce()
    box = [produce() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    return cast(T, box[0])


def gather(value: Any) -> list[Any]:
    """Every process's value, by rank, on each of them."""
    if is_alone():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_batch(share: Tensor) -> Tensor:
    """The shares [B, ...] of a batch, of all processes, one after the other; without gradient."""
    if is_alone():
        return share
    whole = share.new_empty(len(share) * dist.get_world_size(), *share.shape[1:])
    dist.all_gather_into_tensor(whole, share.contiguous())
    return whole


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of the processes' tensors, without gradient."""
    if is_alone():
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def batch_mean(values: Tensor) -> Tensor:
    """Mean of `values` [B, ...] over the batch of all processes.

    Its gradient reaches this process's share alone, at full weight: averaged over processes, as DistributedDataParallel
    does, gradients of any function of the mean are then those that one process has on the whole batch.
    """
    local = values.mean(dim=0)
    if is_alone():
        return local
    return local + (mean_over_processes(local) - local.detach())


def _sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors, whose gradient reaches all of them."""
    assert dist.group.WORLD is not None
    total: Tensor = all_reduce(tensor, "sum", dist.group.WORLD)
    return total


class SynchronizedBatchNorm(_BatchNorm):
    """BatchNorm over the batch of all processes, on any device (torch's own refuses CPU tensors)."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (the base class's name)
        """Take any shape [B, C, ...]."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the base class's name)
        """Normalize [B, C, ...] per channel, with the running statistics in eval mode."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        shape = (1, -1, *[1] * (input.dim() - 2))
        others = [d for d in range(input.dim()) if d != 1]
        n = input.numel() // input.shape[1] * dist.get_world_size()
        x = input.float()
        mean = _sum_over_processes(x.sum(others)) / n
        centered = x - mean.view(shape)
        variance = _sum_over_processes(centered.square().sum(others)) / n  # a second pass: no digits are lost
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / max(n - 1, 1)), self.momentum)
        gain = self.weight * (variance + self.eps).rsqrt()
        result = torch.addcmul(self.bias.view(shape), centered, gain.view(shape))
        normalized: Tensor = result.to(input.dtype)
        return normalized


def synchronize_batch_norm(module: nn.Module) -> None:
    """Put `SynchronizedBatchNorm` in the place of every BatchNorm inside `module`, with its weights and buffers."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            synchronized = SynchronizedBatchNorm(child.num_features, child.eps, child.momentum)
            synchronized.load_state_dict(child.state_dict())
            setattr(module, name, synchronized.to(child.weight.device))
        else:
            synchronize_batch_norm(child)
