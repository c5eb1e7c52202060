"""Training one variant from a data directory into a model directory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from aae_toolkit.config import CONFIG_FILE, VariantConfig, dump_config
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.distributed.collectives import from_main, process_group, wait_for_all
from aae_toolkit.errors import AaeError
from aae_toolkit.files import write_text
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.machine.memory import is_out_of_memory, memory_advice
from aae_toolkit.models.description import CHECKPOINT_FILE, ModelDescription
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.training import health
from aae_toolkit.training.batches import Batches
from aae_toolkit.training.best import Best, judge_of
from aae_toolkit.training.checkpoint import load_checkpoint, require_same_run, resume_from, save_checkpoint
from aae_toolkit.training.keeping import write_model
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.metrics import FILE_NAME as METRICS_FILE
from aae_toolkit.training.metrics import WARNINGS
from aae_toolkit.training.observer import Epoch, Observer
from aae_toolkit.training.preflight import DataFacts, measure_slowdown, notes
from aae_toolkit.training.remedies import Situation
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state, refuse_occupied
from aae_toolkit.training.stop import StopRequest
from aae_toolkit.training.validation import accuracies, encode_validation, trained_model


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
    """Train one variant and write its model directory: after each epoch a checkpoint and the model so far.

    Processes launched by `torchrun` share every batch, and the first of them writes.

    Args:
        config: the variant's section; its type is the variant.
        data: images and labels; the test split is not read.
        output_dir: the model directory.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        resume: continue from the directory's checkpoint, or start where there is none yet. `n_epochs` and `keep` may
            differ from those so far: a finished run is extended by further epochs.
        overwrite: replace a model that is already there.
        checkpoint_every: steps between checkpoints within an epoch; None: no such checkpoints.
        derived: files made from a model that is replaced; they are deleted with it.
        progress: listener for progress and for a line an epoch.
        observers: observers, which get the model at the end of each epoch, in the main process.

    Raises:
        UsageError: the configuration does not fit the data, or the directory already holds a model.
        AaeError: data or checkpoint are unreadable, a loss or gradient is not finite, memory is too small, or the
            directory is removed or in use by another process.
        DeviceError: the device is not there.
        Stopped: SIGINT or SIGTERM arrived, and the running step is in the checkpoint.
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
    """Train the epochs that are left, and write the model."""
    training = run.config.training
    checkpoint = from_main(lambda: load_checkpoint(run.output_dir) if resume else None)
    if checkpoint:
        require_same_run(checkpoint, run)
    with memory_advice(f"lower resident_mib (now {training.resident_mib}), so that images stay in their files"):
        validation = run.data.load_inputs("validation")
        situation = Situation.of(run, DataFacts.of(run.data), validation)
        if checkpoint is None:
            for note in notes(run.config, situation.facts, lambda: measure_slowdown(run.runtime)):
                run.progress.say(f"note: {note}")
        judge = judge_of(validation, run.config)
        batches, first_y = build_batches(run)
    with memory_advice(f"lower --batch-size (now {training.batch_size}), or the networks' sizes"):
        state = initial_state(run, batches.n_images, first_y, batches.moments())
        try:
            state.best = judge and Best.among(state.average, judge)
            if checkpoint:
                resume_from(checkpoint, state, run)
            if run.lock:
                _prepare_directory(state, run, None if checkpoint else derived)
            for observer in run.observers:
                observer.started(state.history)
            with StopRequest() as stop:
                _fit(state, batches, validation, run, stop, situation)
            codes = encode_validation(state.average.encoder, validation, run)
            diagnosis = health.diagnose(state.history, situation, at_end=True)
            description = write_model(state, validation, run, codes.y, diagnosis)
        except OSError as error:
            if is_out_of_memory(error):
                raise
            raise AaeError(f"model directory {run.output_dir} cannot be written: {error.strerror or error}") from error
    return description


def _prepare_directory(state: TrainingState, run: Run, derived: Sequence[Path] | None) -> None:
    """Remove from the model directory all that is not from this run; `derived` is None if it is resumed."""
    if derived is None:
        _write_metrics(state, run)  # without lines later than the checkpoint
    else:
        stale = (run.output_dir / name for name in (DESCRIPTION_FILE, CHECKPOINT_FILE, METRICS_FILE))
        for path in (*derived, *stale):
            path.unlink(missing_ok=True)
    write_text(run.output_dir / CONFIG_FILE, dump_config(run.config))


def _fit(
    state: TrainingState, batches: Batches, validation: Split, run: Run, stop: StopRequest, situation: Situation
) -> None:
    """Train the epochs that are left; each gets metrics, a checkpoint and a model, and is shown to the observers."""
    training = run.config.training
    for epoch in train_epochs(state, batches, run, stop):
        codes = encode_validation(state.average.encoder, validation, run)
        metrics: dict[str, Any] = {
            "epoch": epoch.number,
            **epoch.means,
            **accuracies(codes.y, validation, run),
            **health.measure(codes.y, codes.z if training.use_autoencoder else None, validation.labels),
            **(health.measure_pictures(state.average.decoder, validation, *codes) if training.use_autoencoder else {}),
            "seconds": epoch.seconds,
            "images_per_second": epoch.images_per_second,
            "peak_memory_mib": run.runtime.peak_memory_mib(),
        }
        if diagnosis := health.news([*state.history, metrics], situation):
            metrics[WARNINGS] = [diagnosis.state]
        state.history.append(metrics)
        if state.best:
            state.best.compare(state.average, metrics)
        if run.lock:
            run.lock.require_held()
            _write_metrics(state, run)
            save_checkpoint(run.output_dir, state, run)
        now = health.diagnose(state.history, situation, at_end=True)
        if state.epoch < training.n_epochs:
            write_model(state, validation, run, codes.y, now)
        for observer in run.observers:
            model = trained_model(state.average, codes.y, validation, run, now)
            observer.epoch_ended(Epoch(metrics, model, validation))
        run.progress.say(_epoch_line(metrics, training.n_epochs, epoch.left))
        if diagnosis:
            run.progress.say(f"warning: {diagnosis.line}")


def _write_metrics(state: TrainingState, run: Run) -> None:
    write_text(run.output_dir / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in state.history))


def _epoch_line(metrics: dict[str, Any], n_epochs: int, left: str) -> str:
    parts = [f"epoch {metrics['epoch']}/{n_epochs}"]
    parts += [f"{k.replace('_', ' ')} {100 * v:.2f}%" for k, v in metrics.items() if k.endswith("accuracy")]
    parts += [f"{k} {v:.4f}" for k, v in metrics.items() if k in ("reconstruction", "classification")]
    parts.append(f"{metrics['images_per_second']:.0f} images/s")
    return "  ".join([*parts, left] if left else parts)
