"""Training one variant from a data directory into a model directory: a loop over epochs, batches and phases."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from aae_toolkit import __version__
from aae_toolkit.config import VariantConfig, dump_config
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.data.images import border_brightness
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.distributed import from_main, gather, mean_over_processes, process_group, wait_for_all
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import Floats, contingency_table, encode, fit_category_map, majority_accuracy
from aae_toolkit.files import write_text
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.directory import save_model
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.training.batches import Batches
from aae_toolkit.training.checkpoint import load_checkpoint, resume_from, save_checkpoint
from aae_toolkit.training.device import resolve_runtime
from aae_toolkit.training.setup import (
    CHECKPOINT_FILE,
    Run,
    TrainingState,
    build_batches,
    fit_config_to_data,
    initial_state,
    refuse_occupied,
)
from aae_toolkit.training.step import rate_factor
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.weights import average_in

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yml"


def train(
    config: VariantConfig,
    data: DataDirectory,
    output_dir: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> ModelDescription:
    """Train one variant and write its model directory, a checkpoint each epoch.

    Launched by `torchrun`, the processes share every batch, and the first of them writes.

    Args:
        config: the variant's section; its type says which variant.
        data: images and labels; the test split is not read.
        output_dir: the model directory.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        resume: continue from the directory's checkpoint, or start where there is none yet.
        overwrite: replace a model that is already there.
        checkpoint_every: steps between further checkpoints.
        progress: told of each epoch.

    Raises:
        UsageError: a configuration that does not fit the data, or a directory that already holds a model.
        AaeError: unreadable data or checkpoint, or a loss that is not finite.
        DeviceError: a device that is not there.
        Stopped: SIGINT or SIGTERM came, and the running step was finished and kept.
    """
    runtime = resolve_runtime(device, config.training)
    main = runtime.world.is_main
    run = Run(
        fit_config_to_data(config, data),
        data,
        runtime,
        output_dir,
        progress or Silent(),
        checkpoint_every,
    )
    if main:
        refuse_occupied(output_dir, resume=resume, overwrite=overwrite)
    validation = data.load("validation")
    with runtime.at_full_speed(), process_group(runtime.world, runtime.backend):
        batches, spread = build_batches(run)
        state = initial_state(run, batches.n_images, spread)
        try:
            checkpoint = from_main(lambda: load_checkpoint(output_dir) if resume else None)
            if checkpoint:
                resume_from(checkpoint, state, run)
                run.progress.say(f"resuming after {state.epoch} epochs and {state.step} steps")
            if main:
                _prepare_directory(state, run, resume=checkpoint is not None)
            with StopRequest() as stop:
                _fit(state, batches, validation, run, stop)
            description = _describe(state.average, _encode(state.average.encoder, validation, run), validation, run)
            if main:
                save_model(output_dir, state.average, description)
        except OSError as error:
            raise AaeError(f"model directory {output_dir} cannot be written: {error.strerror or error}") from error
        wait_for_all()
    return description


def _prepare_directory(state: TrainingState, run: Run, *, resume: bool) -> None:
    """Leave in the model directory what this run has done so far, and nothing else."""
    run.output_dir.mkdir(parents=True, exist_ok=True)
    if resume:
        _write_metrics(state, run)  # without the lines that are beyond the checkpoint
    else:
        for stale in (DESCRIPTION_FILE, CHECKPOINT_FILE, METRICS_FILE):
            (run.output_dir / stale).unlink(missing_ok=True)
    write_text(run.output_dir / CONFIG_FILE, dump_config(run.config))


def _fit(state: TrainingState, batches: Batches, validation: Split, run: Run, stop: StopRequest) -> None:
    """Train the epochs that are left, with a line of metrics and a checkpoint for each."""
    n_epochs = run.config.training.n_epochs
    while state.epoch < n_epochs:
        means = train_epoch(state, batches, run, stop)
        metrics = {
            "epoch": state.epoch + 1,
            **means,
            **_validate(state.average.encoder, validation, run),
            "seconds": state.seconds,
            "images_per_second": batches.n_images / state.seconds,
            "peak_memory_mib": run.runtime.peak_memory_mib(),
        }
        state.epoch, state.step, state.sums, state.n_runs, state.seconds = state.epoch + 1, 0, {}, {}, 0.0
        state.history.append(metrics)
        if run.runtime.world.is_main:
            _write_metrics(state, run)
            save_checkpoint(run.output_dir, state, run)
        run.progress.say(_epoch_line(metrics, n_epochs))


def _write_metrics(state: TrainingState, run: Run) -> None:
    write_text(run.output_dir / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in state.history))


def train_epoch(state: TrainingState, batches: Batches, run: Run, stop: StopRequest) -> dict[str, float]:
    """Run every phase on every batch that is left of the epoch; return the epoch's mean of each loss term.

    The terms add up on the device, which is waited for at the end, and before a checkpoint within the epoch.
    """
    state.working.train()
    n_steps, training = batches.steps_per_epoch, run.config.training
    steps = batches.epoch(state.epoch, state.step)
    description = f"epoch {state.epoch + 1}/{training.n_epochs}"
    before = time.perf_counter() - state.seconds
    for batch in run.progress.track(steps, description, n_steps, state.step):
        run.runtime.seed(training.seed, state.epoch, state.step)
        factor = rate_factor(training.schedule, state.epoch + state.step / n_steps, training.n_epochs)
        for runner in state.runners:
            if state.step % runner.phase.every == 0:
                runner.set_rate(factor)
                for name, term in runner.run(batch).items():
                    state.sums[name] = state.sums[name] + term if name in state.sums else term
                    state.n_runs[name] = state.n_runs.get(name, 0) + 1
        state.step += 1
        if training.ema_decay:
            average_in(state.average, state.networks, training.ema_decay, state.epoch * n_steps + state.step)
        signum = stop.signum()
        if signum or (run.checkpoint_every and state.step % run.checkpoint_every == 0):
            _read_means(state)
            state.seconds = time.perf_counter() - before
            if run.runtime.world.is_main:
                save_checkpoint(run.output_dir, state, run)
            wait_for_all()
        if signum:
            raise Stopped(signum, f"in epoch {state.epoch + 1}, after step {state.step} of {n_steps}")
    means = _read_means(state)
    state.seconds = time.perf_counter() - before
    return means


def _read_means(state: TrainingState) -> dict[str, float]:
    """Mean of each loss term over the epoch's steps so far and over the processes, whose sums become equal.

    Raises:
        AaeError: a term was not finite at some step, or a weight is not finite now.
    """
    state.sums = {name: mean_over_processes(total) for name, total in state.sums.items()}
    means = {name: total.item() / state.n_runs[name] for name, total in state.sums.items()}
    if wrong := [f"{name} = {mean:g}" for name, mean in means.items() if not math.isfinite(mean)]:
        raise AaeError(
            f"training stopped in epoch {state.epoch + 1}: loss terms became not finite ({', '.join(wrong)}); lower"
            " their phase's learning rate, or use --precision fp32; the last checkpoint stands"
        )
    if lost := [name for name, weight in state.networks.named_parameters() if not weight.isfinite().all()]:
        raise AaeError(
            f"training stopped in epoch {state.epoch + 1}: weights became not finite ({', '.join(lost)}); lower the"
            " learning rates of their phases, or use --precision fp32; the last checkpoint stands"
        )
    return means


def _encode(encoder: Encoder, validation: Split, run: Run) -> Floats:
    """Category probabilities [N, K] of the validation images, each process encoding its share of them."""
    world = run.runtime.world
    share, _ = encode(encoder, validation.images[world.rank :: world.size])
    y = np.empty((len(validation), share.shape[1]), dtype=np.float32)
    for rank, part in enumerate(gather(share)):
        y[rank :: world.size] = part
    return y


def _validate(encoder: Encoder, validation: Split, run: Run) -> dict[str, float]:
    """Accuracies on the validation images, none where they have no labels."""
    known = validation.labels != UNLABELED
    if not known.any():
        return {}
    y = _encode(encoder, validation, run)
    n_classes = len(run.data.class_names)
    labels, categories = validation.labels[known], y[known].argmax(axis=1)
    if run.config.variant == "semi_supervised":
        predicted = np.array(_learned_map(y, validation, n_classes))[categories]
        return {"validation_accuracy": float((predicted == labels).mean())}
    table = contingency_table(labels, categories, n_classes, y.shape[1])
    return {"validation_majority_accuracy": majority_accuracy(table)}


def _learned_map(y: Floats, validation: Split, n_classes: int) -> tuple[int, ...]:
    """Category -> class of the semi-supervised variant: itself, or the majority where it is beyond the classes."""
    further = fit_category_map(y, validation.labels, n_classes)[n_classes:] if y.shape[1] > n_classes else ()
    return (*range(n_classes), *further)


def _describe(networks: Networks, y: Floats, validation: Split, run: Run) -> ModelDescription:
    """Name the categories, and say how."""
    variant, class_names = run.config.variant, run.data.class_names
    n_categories = networks.architecture.n_classes
    if not class_names:  # no label anywhere: a category is its own class
        names = tuple(f"category_{k}" for k in range(n_categories))
        mapping, found = tuple(range(n_categories)), "identity: the data has no labels"
    elif variant == "semi_supervised":
        names, mapping = class_names, _learned_map(y, validation, len(class_names))
        further = "; further categories by majority on validation" if n_categories > len(names) else ""
        found = "identity: learned from labels" + further
    else:
        names, found = class_names, "majority on validation"
        mapping = fit_category_map(y, validation.labels, len(class_names))
    known = validation.labels != UNLABELED
    right = np.array(mapping)[y[known].argmax(axis=1)] == validation.labels[known]
    return ModelDescription(
        toolkit_version=__version__,
        variant=variant,
        architecture=networks.architecture,
        class_names=names,
        category_to_class=mapping,
        category_to_class_from=found,
        validation_accuracy=float(right.mean()) if known.any() else None,
        border_brightness=border_brightness(validation.images) if len(validation) else None,
    )


def _epoch_line(metrics: dict[str, Any], n_epochs: int) -> str:
    parts = [f"epoch {metrics['epoch']}/{n_epochs}"]
    parts += [f"{k.replace('_', ' ')} {100 * v:.2f}%" for k, v in metrics.items() if k.endswith("accuracy")]
    parts += [f"{k} {v:.4f}" for k, v in metrics.items() if k in ("reconstruction", "classification")]
    parts.append(f"{metrics['images_per_second']:.0f} images/s")
    return "  ".join(parts)
