"""Lower bound of a training step's time: its matrix products alone, on this machine.

The products are recorded while one step runs, and then run by themselves on operands of the same shapes, strides and
dtypes. Nothing else of a step is in it: no optimizer, no casts, no activations, no random numbers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_WITH_OUTPUT = {torch.ops.aten.mm.default: torch.mm, torch.ops.aten.addmm.default: torch.addmm}
_PRODUCTS = {*_WITH_OUTPUT, torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default}

# What an operator's time is counted as: the first row with a word of its name.
_KINDS = {
    "matrix products": ("mm", "convolution"),
    "optimizer": ("_fused_adam", "_fused_sgd"),
    "casts between precisions": ("_to_copy", "_foreach_copy"),
    "random numbers": ("random", "rand", "normal", "bernoulli", "multinomial"),
    "BatchNorm": ("batch_norm",),
    "activations, losses, the rest": ("",),
}


class _Recorder(TorchDispatchMode):
    """Recorder of every product that runs under it, as a call that repeats the product on its own operands."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            operands = tree_map_only(Tensor, _like, args)
            if func in _WITH_OUTPUT:  # into memory that is already there
                self.calls.append(partial(_WITH_OUTPUT[func], *operands, **(kwargs or {}), out=_like(result)))
            else:
                self.calls.append(partial(func, *operands, **(kwargs or {})))
        return result


class _Stopwatch(TorchDispatchMode):
    """Stopwatch of the operators that run under it, in seconds by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        elapsed = time.perf_counter() - before
        kind = next(kind for kind, words in _KINDS.items() if any(word in str(func) for word in words))
        self.seconds[kind] += elapsed
        return result


@torch.no_grad()
def _like(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return empty.normal_()


def record_floor(step: Callable[[], object]) -> Callable[[], None]:
    """Run `step` once, and return a function that repeats only its matrix products and convolutions."""
    with _Recorder() as recorder:
        step()

    @torch.inference_mode()
    def floor() -> None:
        for call in recorder.calls:
            call()

    return floor


def profile(step: Callable[[], object], n: int = 10) -> dict[str, float]:
    """Milliseconds of one step by kind of operator, and between operators; mean over `n` steps."""
    for _ in range(3):
        step()  # until memory is there and optimizers have their state
    before = time.perf_counter()
    for _ in range(n):
        step()
    whole = time.perf_counter() - before
    with _Stopwatch() as stopwatch:
        for _ in range(n):
            step()
    by_kind = {kind: stopwatch.seconds[kind] for kind in _KINDS}
    by_kind["between operators (Python, autograd)"] = max(0.0, whole - sum(by_kind.values()))
    return {kind: 1000 * seconds / n for kind, seconds in by_kind.items()}
