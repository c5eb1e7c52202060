"""BatchNorm over the batch of all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_reduce  # differentiable, also when compiled
from torch.nn.modules.batchnorm import _BatchNorm


def _sum_over_processes(tensor: Tensor) -> Tensor:
    """Sum the processes' tensors; the gradient reaches all of them."""
    assert dist.group.WORLD is not None
    total: Tensor = all_reduce(tensor, "sum", dist.group.WORLD)
    return total


class SynchronizedBatchNorm(_BatchNorm):
    """BatchNorm over the batch of all processes, on any device (torch's own refuses CPU tensors)."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (the base class's name)
        """Accept any shape [B, C, ...]."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the base class's name)
        """Normalize [B, C, ...] per channel; in eval mode with the running statistics."""
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
        variance = _sum_over_processes(centered.square().sum(others)) / n  # a second pass, which loses no digits
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / max(n - 1, 1)), self.momentum)
        gain = self.weight * (variance + self.eps).rsqrt()
        result = torch.addcmul(self.bias.view(shape), centered, gain.view(shape))
        normalized: Tensor = result.to(input.dtype)
        return normalized


def synchronize_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm inside `module` by a `SynchronizedBatchNorm` with its weights and buffers."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            synchronized = SynchronizedBatchNorm(child.num_features, child.eps, child.momentum)
            synchronized.load_state_dict(child.state_dict())
            setattr(module, name, synchronized.to(child.weight.device))
        else:
            synchronize_batch_norm(child)
