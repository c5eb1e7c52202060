"""Seconds from the cold start of the command until validation accuracies are reached, for several seeds.

    python benchmarks/time_to_accuracy.py --data data [--config fast] [--seeds 0,1,2] [--output F.json]

The clock starts before the process does, and is read when the command prints an epoch's line. The test split is not
read. Memory is the process's peak after the first and the last epoch.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from aae_toolkit.files import write_json
from aae_toolkit.machine.environment import describe_environment

_LINE = re.compile(r"epoch (\d+)/\d+  validation accuracy ([\d.]+)%")


def run_seed(data: Path, config: str, seed: int, thresholds: list[float]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as model_dir:
        paths = ["--data", str(data), "--output", model_dir, "--config", config]
        command = [sys.executable, "-u", "-m", "aae_toolkit", "train", "semi-supervised", *paths, "--seed", str(seed)]
        started = time.perf_counter()
        curve: list[tuple[float, float]] = []  # seconds, % of the validation images
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if match := _LINE.match(line):
                    curve.append((time.perf_counter() - started, float(match[2])))
                    print(f"seed {seed}: {curve[-1][0]:6.1f} s  {curve[-1][1]:.2f}%", flush=True)
        assert process.returncode == 0
        seconds = time.perf_counter() - started
        metrics = [json.loads(line) for line in (Path(model_dir) / "metrics.jsonl").read_text().splitlines()]
    return {
        "seed": seed,
        "curve": curve,
        "seconds_to": {f"{t:g}": next((s for s, accuracy in curve if accuracy >= t), None) for t in thresholds},
        "final": curve[-1][1],
        "seconds": seconds,
        "peak_memory_mib": [metrics[0]["peak_memory_mib"], metrics[-1]["peak_memory_mib"]],
    }


def main(
    data: Annotated[Path, typer.Option(help="Data directory, written by init-datasets.")],
    config: Annotated[str, typer.Option(help="YAML file, or the name of a shipped one.")] = "fast",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    thresholds: Annotated[str, typer.Option(help="Validation accuracies in percent.")] = "97,98,99",
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Train once a seed, one after the other, and print a row for each."""
    limits = [float(part) for part in thresholds.split(",")]
    runs = [run_seed(data, config, int(seed), limits) for seed in seeds.split(",")]
    table = Table("seed", *(f"s to {t:g}%" for t in limits), "final", "s in all", "MiB first, last epoch")
    for run in runs:
        reached = ["never" if s is None else f"{s:.1f}" for s in run["seconds_to"].values()]
        memory = ", ".join(f"{mib:.0f}" for mib in run["peak_memory_mib"])
        table.add_row(str(run["seed"]), *reached, f"{run['final']:.2f}%", f"{run['seconds']:.1f}", memory)
    Console(width=120).print(table)
    if output:
        write_json(output, {"environment": describe_environment(), "config": config, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
