"""Cost of three slowdowns that training avoids: page faults, subnormal numbers, dropout's mask.

    python benchmarks/brakes.py

Each pair is measured in one run; the allocator's in two processes, since it cannot be set back.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from training_step import a_batch, our_step

from aae_toolkit.config import load_config, with_flags
from aae_toolkit.models.networks import Dropout
from aae_toolkit.training import device


def median_ms(call: Callable[[], object], n: int = 9) -> float:
    """Median time of `n` calls in ms, after one untimed call."""
    call()
    samples = []
    for _ in range(n):
        before = time.perf_counter()
        call()
        samples.append(1000 * (time.perf_counter() - before))
    return statistics.median(samples)


def allocator(precision: str, keep: bool) -> str:
    """Time a step of the seed's unsupervised configuration in this process, and count its page faults."""
    if keep:
        device._keep_freed_memory()
    step = our_step(with_flags(load_config("seed", "unsupervised"), precision=precision, compile=False), a_batch(100))
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ms = median_ms(step)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10
    return f"step, {precision}, freed memory {'kept' if keep else 'given back'}: {ms:.0f} ms, {faults:.0f} page faults"


def subnormals(flush: bool) -> str:
    """Time a fused Adam step and a product on numbers below float32's normal range."""
    torch.set_flush_denormal(flush)
    weight = nn.Parameter(torch.randn(1000, 1000))
    weight.grad = torch.zeros_like(weight)
    adam = torch.optim.Adam([weight], fused=True)
    adam.step()
    for name in ("exp_avg", "exp_avg_sq"):
        adam.state[weight][name].fill_(1e-39)
    step = median_ms(adam.step)
    small, other = torch.full((1000, 1000), 1e-39), torch.randn(1000, 1000)
    product = median_ms(lambda: small @ other)
    return f"subnormals {'flushed' if flush else 'kept'}: Adam {step:.1f} ms, product {product:.1f} ms"


def main() -> None:
    """Print a line for each measurement."""
    if len(sys.argv) > 1:
        print(allocator(sys.argv[1], sys.argv[2] == "keep"))
        return
    for precision in ("fp32", "bf16"):
        for keep in ("give", "keep"):
            subprocess.run([sys.executable, __file__, precision, keep], check=True)
    for flush in (False, True):
        print(subnormals(flush))
    hidden = torch.randn(100, 3000)
    for dropout in (nn.Dropout(0.2), Dropout(0.2)):
        print(f"{type(dropout).__module__}, {hidden.numel()} units: {median_ms(partial(dropout, hidden)):.2f} ms")


if __name__ == "__main__":
    main()
