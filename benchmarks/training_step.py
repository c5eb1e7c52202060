"""Time of a training step, compared with a plain implementation and with its lower bound in interleaved rounds.

    python benchmarks/training_step.py [--rounds 9] [--case unsupervised:seed] [--no-compiled] [--output F.json]

A step is every phase once. `over plain` is the plain step's time over this one's (benchmarks/plain.py); `over floor` is
this one's over that of its matrix products alone in the same precision (benchmarks/floor.py).
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from floor import profile, record_floor
from plain import PlainStep
from rich.console import Console
from rich.table import Table

from aae_toolkit.config import TrainingConfig, VariantConfig, load_config, with_flags
from aae_toolkit.files import write_json
from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.weights import working_networks

CASES = ["unsupervised:seed", "semi_supervised:seed"]
N_CLASSES = 10  # where the configuration leaves it to the data


def architecture_of(config: VariantConfig) -> Architecture:
    model = config.model.model_copy(update={"n_classes": config.model.n_classes or N_CLASSES})
    return Architecture(image_shape=(1, 28, 28), **model.model_dump())


def a_batch(n: int) -> Batch:
    return Batch(torch.rand(n, 1, 28, 28), torch.rand(n, 1, 28, 28), torch.arange(n) % N_CLASSES)


def our_step(config: VariantConfig, batch: Batch) -> Callable[[], dict[str, float]]:
    torch.manual_seed(0)
    networks = Networks(architecture_of(config), mode_decoder=getattr(config.training, "use_mode_decoder", False))
    runtime = resolve_runtime("cpu", config.training)
    phases = build_phases(working_networks(networks.train(), runtime.dtype), config)
    runners = [PhaseRunner(phase, runtime) for phase in phases]
    return lambda: {name: term for runner in runners for name, term in runner.run(batch).items()}


def check_that_plain_computes_the_same(config: VariantConfig, batch: Batch) -> None:
    """Check that both implementations compute the same first loss, on equal weights and without noise."""
    model = config.model.model_copy(update={"hidden_size": 64, "encoder_dropout": 0.0})
    quiet = config.training.model_copy(update={"input_noise": 0.0, "precision": "fp32", "compile": False})
    config = config.model_copy(update={"model": model, "training": quiet})
    torch.manual_seed(0)
    plain = PlainStep(architecture_of(config), config)
    ours, theirs = our_step(config, batch)(), plain(batch)
    found = float(ours["reconstruction"] + ours.get("z_l2", 0) * math.sqrt(len(batch.images) / 100))
    assert math.isclose(found, theirs["reconstruction"].item(), rel_tol=1e-4), (found, theirs)


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step in interleaved rounds; an untimed call first loads weights into the caches."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            for _ in range(2):
                before = time.perf_counter()
                step()
                samples[name].append(1000 * (time.perf_counter() - before))
    return {name: statistics.median(values) for name, values in samples.items()}


def run_case(variant: str, name: str, rounds: int, compiled: bool) -> dict[str, object]:
    config = load_config(name, variant)
    n = config.training.batch_size
    batch = a_batch(n)
    runtime = resolve_runtime("cpu", config.training)
    check_that_plain_computes_the_same(config, batch)
    steps: dict[str, Callable[[], object]] = {}
    profiles: dict[str, dict[str, float]] = {}
    for precision in ("fp32", "bf16"):
        eager = our_step(with_flags(config, precision=precision, compile=False), batch)
        steps[f"{precision} eager"] = eager
        profiles[precision] = profile(eager)
        steps[f"{precision} floor"] = record_floor(eager)
        if compiled:
            steps[f"{precision} compiled"] = our_step(with_flags(config, precision=precision, compile=True), batch)
    plain = PlainStep(architecture_of(config), config)
    steps["fp32 plain"] = lambda: plain(batch)
    first_call = {}
    for step, run in steps.items():
        before = time.perf_counter()
        run()
        first_call[step] = time.perf_counter() - before
    measure(steps, 1)
    memory = runtime.peak_memory_mib()
    milliseconds = measure(steps, rounds)
    seen = 2 * n if variant == "semi_supervised" else n
    rows = [
        {
            "step": step,
            "milliseconds": ms,
            "images_per_second": 1000 * seen / ms,
            "over_plain": milliseconds["fp32 plain"] / ms,
            "over_floor": ms / milliseconds[f"{step.split()[0]} floor"],
            "first_call_seconds": first_call[step],
        }
        for step, ms in milliseconds.items()
    ]
    return {
        "variant": variant,
        "config": name,
        "config_hash": hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:12],
        "batch_size": n,
        "peak_memory_mib": [memory, runtime.peak_memory_mib()],
        "profile_ms": profiles,
        "rows": rows,
    }


def show(console: Console, case: dict) -> None:
    title = f"{case['variant']}, configs/{case['config']}.yaml, batch {case['batch_size']}"
    table = Table("step", "ms", "images/s", "over plain", "over floor", title=title)
    for row in case["rows"]:
        cells = [f"{row['milliseconds']:.1f}", f"{row['images_per_second']:,.0f}"]
        cells += [f"{row['over_plain']:.2f}x", f"{row['over_floor']:.2f}x"]
        table.add_row(row["step"], *cells)
    console.print(table)
    kinds = Table("ms of a step spent on", *case["profile_ms"], title="eager, by kind of operator")
    for kind in next(iter(case["profile_ms"].values())):
        kinds.add_row(kind, *(f"{times[kind]:.1f}" for times in case["profile_ms"].values()))
    console.print(kinds)
    first, last = case["peak_memory_mib"]
    console.print(f"peak memory of all of these together: {first:.0f} MiB after one round, {last:.0f} MiB at the end\n")


def main(
    rounds: Annotated[int, typer.Option(help="Interleaved rounds, two timed steps each.")] = 9,
    case: Annotated[list[str], typer.Option(help="<variant>:<config>, repeatable.")] = CASES,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = True,
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Measure, print, and write the results."""
    console = Console(width=120)
    found = []
    with resolve_runtime("cpu", TrainingConfig()).at_full_speed():
        for name in case:
            found.append(run_case(*name.split(":"), rounds, compiled))
            show(console, found[-1])
    if output:
        write_json(output, {"environment": describe_environment(), "threads": torch.get_num_threads(), "cases": found})


if __name__ == "__main__":
    typer.run(main)
