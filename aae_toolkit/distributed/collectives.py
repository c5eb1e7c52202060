"""Collective operations of several processes: meeting, agreeing, and statistics over the whole batch.

Each process sees its share of every batch, and all shares have one size. In a single process each function does
nothing, or returns its argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from aae_toolkit.distributed.world import World

T = TypeVar("T")


@contextmanager
def process_group(world: World, backend: str) -> Iterator[None]:
    """Join the other processes of `world`; `backend` carries the tensors."""
    if world.size == 1:
        yield
        return
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_alone() -> bool:
    """Tell whether this is the only process."""
    return not dist.is_initialized()


def wait_for_all() -> None:
    """Wait until every process has called this."""
    if not is_alone():
        dist.barrier()


def largest(value: int) -> int:
    """Return the largest of the processes' values, in each of them."""
    if is_alone():
        return value
    box = torch.tensor(value)
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


def from_main(produce: Callable[[], T]) -> T:
    """Call `produce` in the main process only, and return its result in every process."""
    if is_alone():
        return produce()
    box = [produce() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    return cast(T, box[0])


def gather(value: Any) -> list[Any]:
    """Return every process's value, by rank, in each of them."""
    if is_alone():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_batch(share: Tensor) -> Tensor:
    """Join the shares [B, ...] of a batch from all processes, one after the other, without gradient."""
    if is_alone():
        return share
    whole = share.new_empty(len(share) * dist.get_world_size(), *share.shape[1:])
    dist.all_gather_into_tensor(whole, share.contiguous())
    return whole


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Average the processes' tensors, without gradient."""
    if is_alone():
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def batch_mean(values: Tensor) -> Tensor:
    """Average `values` [B, ...] over the batch of all processes.

    The gradient reaches this process's share alone, at full weight. DistributedDataParallel averages gradients over
    processes, which then gives the gradient that one process has on the whole batch.
    """
    local = values.mean(dim=0)
    if is_alone():
        return local
    return local + (mean_over_processes(local) - local.detach())
