"""Training one variant from a data directory into a model directory: a loop over epochs, batches and phases."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from aae_toolkit.config import VariantConfig, dump_config
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.distributed.collectives import from_main, mean_over_processes, process_group, wait_for_all
from aae_toolkit.errors import AaeError
from aae_toolkit.files import write_text
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.machine.memory import is_out_of_memory, memory_advice
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.directory import save_model
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.training import health
from aae_toolkit.training.batches import Batches
from aae_toolkit.training.checkpoint import load_checkpoint, resume_from, save_checkpoint
from aae_toolkit.training.metrics import FILE_NAME as METRICS_FILE
from aae_toolkit.training.metrics import WARNINGS
from aae_toolkit.training.observer import Epoch, Observer
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import (
    CHECKPOINT_FILE,
    Run,
    TrainingState,
    build_batches,
    fit_config_to_data,
    initial_state,
    refuse_occupied,
)
from aae_toolkit.training.step import PhaseRunner, rate_factor
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.validation import accuracies, describe, encode_validation, trained_model
from aae_toolkit.training.weights import average_in

CONFIG_FILE = "config.yml"

_N_NAMES = 3  # of weights, in an error


def train(
    config: VariantConfig,
    data: DataDirectory,
    output_dir: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int | None = None,
    derived: Sequence[Path] = (),
    progress: Progress | None = None,
    observers: Sequence[Observer] = (),
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
        derived: files that were made from a model that is replaced; they go with it.
        progress: told of each epoch.
        observers: shown the model at the end of each epoch, in the main process.

    Raises:
        UsageError: a configuration that does not fit the data, or a directory that already holds a model.
        AaeError: unreadable data or checkpoint, a loss or gradient that is not finite, too little memory, or a
            directory that another process writes to, or that is removed meanwhile.
        DeviceError: a device that is not there.
        Stopped: SIGINT or SIGTERM came, and the running step was finished and kept.
    """
    runtime = resolve_runtime(device, config.training)
    run = Run(
        fit_config_to_data(config, data),
        data,
        runtime,
        output_dir,
        progress or Silent(),
        checkpoint_every,
        observers=observers if runtime.world.is_main else (),
    )
    with lock_directory(output_dir, run.progress) if runtime.world.is_main else nullcontext() as lock:
        run = dataclasses.replace(run, lock=lock)
        if lock:
            refuse_occupied(output_dir, resume=resume, overwrite=overwrite)
        with runtime.at_full_speed(), process_group(runtime.world, runtime.backend):
            description = _train(run, resume=resume, derived=derived)
            wait_for_all()
    return description


def _train(run: Run, *, resume: bool, derived: Sequence[Path]) -> ModelDescription:
    """Train what is left to train, and write the model."""
    training = run.config.training
    with memory_advice(f"lower resident_mib (now {training.resident_mib}), so that images stay in their files"):
        validation = run.data.load("validation")
        batches, spread = build_batches(run)
    with memory_advice(f"lower --batch-size (now {training.batch_size}), or the networks' sizes"):
        state = initial_state(run, batches.n_images, spread)
        try:
            checkpoint = from_main(lambda: load_checkpoint(run.output_dir) if resume else None)
            if checkpoint:
                resume_from(checkpoint, state, run)
                run.progress.say(f"resuming after {state.epoch} epochs and {state.step} steps")
            if run.lock:
                _prepare_directory(state, run, None if checkpoint else derived)
            for observer in run.observers:
                observer.started(state.history)
            with StopRequest() as stop:
                _fit(state, batches, validation, run, stop)
            codes = encode_validation(state.average.encoder, validation, run)
            description = describe(state.average, codes.y, validation, run)
            if run.lock:
                run.lock.require_held()
                save_model(run.output_dir, state.average, description)
        except OSError as error:
            if is_out_of_memory(error):
                raise
            raise AaeError(f"model directory {run.output_dir} cannot be written: {error.strerror or error}") from error
    return description


def _prepare_directory(state: TrainingState, run: Run, derived: Sequence[Path] | None) -> None:
    """Leave in the model directory what this run has done so far, and nothing else; `derived` is None where resumed."""
    if derived is None:
        _write_metrics(state, run)  # without the lines that are beyond the checkpoint
    else:
        stale = (run.output_dir / name for name in (DESCRIPTION_FILE, CHECKPOINT_FILE, METRICS_FILE))
        for path in (*derived, *stale):
            path.unlink(missing_ok=True)
    write_text(run.output_dir / CONFIG_FILE, dump_config(run.config))


def _fit(state: TrainingState, batches: Batches, validation: Split, run: Run, stop: StopRequest) -> None:
    """Train the epochs that are left, with a line of metrics and a checkpoint for each."""
    n_epochs = run.config.training.n_epochs
    while state.epoch < n_epochs:
        means = train_epoch(state, batches, run, stop)
        codes = encode_validation(state.average.encoder, validation, run)
        metrics: dict[str, Any] = {
            "epoch": state.epoch + 1,
            **means,
            **accuracies(codes.y, validation, run),
            **health.measure(codes.y, codes.z, validation.labels),
            "seconds": state.seconds,
            "images_per_second": batches.n_images / state.seconds,
            "peak_memory_mib": run.runtime.peak_memory_mib(),
        }
        if symptoms := health.new_symptoms([*state.history, metrics], n_epochs):
            metrics[WARNINGS] = [symptom.name for symptom in symptoms]
        state.epoch, state.step, state.sums, state.n_runs, state.seconds = state.epoch + 1, 0, {}, {}, 0.0
        state.history.append(metrics)
        if run.lock:
            run.lock.require_held()
            _write_metrics(state, run)
            save_checkpoint(run.output_dir, state, run)
        for observer in run.observers:
            observer.epoch_ended(Epoch(metrics, trained_model(state.average, codes.y, validation, run), validation))
        run.progress.say(_epoch_line(metrics, n_epochs))
        for symptom in symptoms:
            run.progress.say(f"warning: {symptom.text(metrics)}")


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
            if state.epoch >= runner.phase.first_epoch and state.step % runner.phase.every == 0:
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
            if run.lock:
                run.lock.require_held()
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
        AaeError: a term or a gradient was not finite at some step, or a weight is not finite now.
    """
    state.sums = {name: mean_over_processes(total) for name, total in state.sums.items()}
    means = {name: total.item() / state.n_runs[name] for name, total in state.sums.items()}
    faults = [fault for runner in state.runners for fault in _faults(runner, means)]
    lost = [name for name, weight in state.networks.named_parameters() if not weight.isfinite().all()]
    if lost:
        faults.append(f"weights became not finite ({_listed(lost)})")
    if faults:
        raise AaeError(
            f"training stopped in epoch {state.epoch + 1}: {'; '.join(faults)}; lower the learning rate there, or use"
            " --precision fp32; no such step was taken, and the last checkpoint stands"
        )
    return means


def _faults(runner: PhaseRunner, means: dict[str, float]) -> list[str]:
    """What was not finite in one phase since the epoch began, losses before gradients, which follow from them."""
    phase = runner.phase.name
    if wrong := [f"{name} = {means[name]:g}" for name in runner.terms if not math.isfinite(means.get(name, 0.0))]:
        return [f"in phase {phase} loss terms became not finite ({', '.join(wrong)})"]
    if lost := runner.lost_gradients():
        terms = " + ".join(runner.guilty_terms())
        return [f"in phase {phase} the gradient of {terms} became not finite (of {_listed(lost)})"]
    return []


def _listed(names: list[str]) -> str:
    """The first few of many names."""
    more = len(names) - _N_NAMES
    return ", ".join(names[:_N_NAMES]) + (f" and {more} more" if more > 0 else "")


def _epoch_line(metrics: dict[str, Any], n_epochs: int) -> str:
    parts = [f"epoch {metrics['epoch']}/{n_epochs}"]
    parts += [f"{k.replace('_', ' ')} {100 * v:.2f}%" for k, v in metrics.items() if k.endswith("accuracy")]
    parts += [f"{k} {v:.4f}" for k, v in metrics.items() if k in ("reconstruction", "classification")]
    parts.append(f"{metrics['images_per_second']:.0f} images/s")
    return "  ".join(parts)
