"""Device, precision and compilation: the only training module with code for one kind of hardware."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aae_toolkit.config import CompileMode, TrainingConfig, TrainingPrecision
from aae_toolkit.distributed.world import ALONE, World, world_from_environment
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.machine.device import resolve_device

ResolvedPrecision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LOADER_WORKERS = 2  # processes that read ahead while streaming to a GPU
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")  # torch's message
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # constants of glibc's malloc.h


@dataclass(frozen=True)
class Runtime:
    """Device, precision and processes that phases run on."""

    device: torch.device
    precision: ResolvedPrecision
    compile: bool
    compile_mode: CompileMode = "default"
    world: World = ALONE
    deterministic: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Type of matrix products."""
        return _DTYPES[self.precision]

    @property
    def backend(self) -> str:
        """Backend of torch.distributed."""
        return "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"

    @property
    def loader_options(self) -> dict[str, Any]:
        """Arguments of a DataLoader for this device; to a GPU it reads ahead in processes and sends pinned memory."""
        return {"pin_memory": True, "num_workers": _LOADER_WORKERS} if self.device.type == "cuda" else {}

    @contextmanager
    def at_full_speed(self) -> Iterator[None]:
        """Set this process up for training, and restore all but the allocator afterwards.

        On the CPU denormal numbers count as zero: the optimizer's moments of a unit without gradients become denormal,
        and each product with one takes a hundred times as long.
        """
        cuda: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
        before = [backend.allow_tf32 for backend in cuda]
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        for backend in cuda:
            backend.allow_tf32 = self.precision != "fp32"
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # otherwise cuBLAS may add in another order
            torch.use_deterministic_algorithms(True)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        else:
            _keep_freed_memory()
            torch.set_flush_denormal(True)
        try:
            yield
        except RuntimeError as error:
            if self.deterministic and (match := _NOT_DETERMINISTIC.search(str(error))):
                raise AaeError(
                    f"--deterministic: {match[1]} has no deterministic implementation on {self.device.type}; leave"
                    " --deterministic out, or use --device cpu"
                ) from error
            raise
        finally:
            for backend, allowed in zip(cuda, before, strict=True):
                backend.allow_tf32 = allowed
            torch.use_deterministic_algorithms(was_deterministic)
            torch.set_flush_denormal(False)

    def autocast(self) -> torch.autocast:
        """Return the context of forward passes; weights already have its precision, see `weights`."""
        enabled = self.precision != "fp32"
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled, cache_enabled=False)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Return the gradient scaling, active for fp16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def compiled(self, module: nn.Module) -> nn.Module:
        """Compile `module` in place if asked for; each of its two batch sizes is a graph, and one epoch has both."""
        if self.compile:
            module.compile(mode=self.compile_mode, dynamic=False)
        return module

    def distribute(self, module: nn.Module, ignored: Iterable[str]) -> nn.Module:
        """Wrap `module` so that gradients are averaged over the processes.

        `ignored` names parameters without gradient, and buffers, which synchronized BatchNorm keeps equal.
        """
        if self.world.size == 1:
            return module
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            module, list(ignored)
        )
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def seed(self, *numbers: int) -> None:
        """Seed this process's random streams, each process differently."""
        [mixed] = np.random.SeedSequence([*numbers, self.world.rank]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(mixed))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(int(mixed))

    def totals(self, tensors: list[Tensor]) -> Tensor:
        """Reduce each tensor to a number, [n], that is not finite if one of its elements is not."""
        if self.device.type == "cuda":
            return torch.stack(torch._foreach_norm(tensors))  # a kernel or two for all of them
        return torch.stack([tensor.sum() for tensor in tensors])  # half the time of a norm

    def mark_step(self) -> None:
        """Mark the last step's results as no longer needed: CUDA graphs overwrite them."""
        if self.compile and self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def peak_memory_mib(self) -> float:
        """Return the peak memory so far, of the GPU or else of this process, MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def resolve_runtime(device: str, training: TrainingConfig) -> Runtime:
    """Resolve `auto` choices against this machine.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:i`; each of several processes takes the GPU of its local rank.
        training: section with `precision`, `compile`, `compile_mode` and `deterministic`.

    Raises:
        DeviceError: the device is not there.
        UsageError: the device has no such name, or one GPU is named for several processes.
    """
    world = world_from_environment()
    resolved = resolve_device(device)
    if resolved.type == "cuda":
        if world.size > 1 and ":" in device:
            raise UsageError(f"--device {device} names one GPU for {world.size} processes; use --device cuda")
        if world.size > 1:
            resolved = resolve_device(f"cuda:{world.local_rank}")
    precision = _resolve_precision(training.precision, resolved)
    compile_pays = resolved.type == "cuda"  # on the CPU it costs more than it gains, see docs/performance.md
    return Runtime(
        device=resolved,
        precision=precision,
        compile=compile_pays if training.compile is None else training.compile,
        compile_mode=training.compile_mode,
        world=world,
        deterministic=training.deterministic,
    )


def _resolve_precision(precision: TrainingPrecision, device: torch.device) -> ResolvedPrecision:
    """Resolve `auto`: bf16 where the hardware multiplies in it, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"


def _keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory for the next step.

    By default the kernel hands out each large tensor page by page and takes it back when it is freed, for a fifth to a
    quarter of the time of a step of the seed's unsupervised configuration (docs/performance.md).
    """
    with suppress(OSError, AttributeError):  # other C libraries keep their defaults
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
