"""Accuracy of runs that are extended after their end, beside runs of the whole length.

    python benchmarks/extending.py [--seeds 0,1] [--config digits]

Each run is extended to twice its epochs: from what `checkpoint.pt` keeps of a finished run, and from its whole state.
Data are scikit-learn's digits, with 100 labels; the score is the accuracy of the 900 images that are held out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from keeping import Case, drawn

from aae_toolkit.config import load_config, with_flags
from aae_toolkit.data.sources import load_source
from aae_toolkit.evaluation import encode
from aae_toolkit.progress import Silent
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest

WAYS = ("whole length", "extended", "extended with the whole state", "half the length")


def main(
    seeds: Annotated[str, typer.Option(help="Seeds of draws and trainings.")] = "0,1",
    config: Annotated[str, typer.Option(help="Configuration.")] = "digits",
    n_epochs: Annotated[int, typer.Option(help="Epochs of the whole length.")] = 20,
) -> None:
    """Train each way with each seed, and print a table."""
    print(f"{config}, {n_epochs} epochs\n\n| seed | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}", flush=True)
    for seed in map(int, seeds.split(",")):
        scores = [f"{100 * accuracy(way, config, n_epochs, seed):.2f}%" for way in WAYS]
        print(f"| {seed} | {' | '.join(scores)} |", flush=True)


def accuracy(way: str, name: str, n_epochs: int, seed: int) -> float:
    """Train, and return the accuracy on the images that are held out, a fraction."""
    data = drawn(load_source("digits", None, Path(), (1, 8, 8)), Case("digits", name, n_epochs, 100, 797), seed)
    first = n_epochs if way == "whole length" else n_epochs // 2
    config = fit_config_to_data(with_flags(load_config(name, "semi_supervised"), n_epochs=first, seed=seed), data)
    run = Run(config, data, Runtime(torch.device("cpu"), "fp32", compile=False), Path(), Silent())
    with run.runtime.at_full_speed():
        batches, first_y = build_batches(run)
        state = initial_state(run, batches.n_images, first_y, batches.moments())
        for _ in train_epochs(state, batches, run, StopRequest()):
            pass
        if way.startswith("extended"):
            run = replace(run, config=with_flags(config, n_epochs=n_epochs))
            if way == "extended":
                state = extended(state, run, batches.n_images)
            for _ in train_epochs(state, batches, run, StopRequest()):
                pass
    held_out = data.load_inputs("validation")
    y, _ = encode(state.average.encoder, held_out.inputs)
    return float((y.argmax(axis=1) == held_out.labels).mean())


def extended(finished: TrainingState, run: Run, n_images: int) -> TrainingState:
    """Start from the model and the memory of a finished run, with new optimizers, as `aae train --resume` does."""
    state = initial_state(run, n_images)
    for networks in (state.networks, state.average):
        networks.load_state_dict(finished.average.state_dict())
    for runner, before in zip(state.runners, finished.runners, strict=True):
        runner.load_state_dict(before.state_dict(with_optimizer=False), with_optimizer=False)
    state.epoch = finished.epoch
    return state


if __name__ == "__main__":
    typer.run(main)
