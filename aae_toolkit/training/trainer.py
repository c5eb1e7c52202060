"""Training one variant from a data directory into a model directory: a loop over epochs, batches and phases."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aae_toolkit import __version__
from aae_toolkit.config import VariantConfig, dump_config
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.data.sources import UNLABELED
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
    progress: Progress | None = None,
) -> ModelDescription:
    """Train one variant and write its model directory, a checkpoint each epoch.

    Args:
        config: the variant's section; its type says which variant.
        data: images and labels; the test split is not read.
        output_dir: the model directory.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        resume: continue from the directory's checkpoint.
        overwrite: replace a model that is already there.
        progress: told of each epoch.

    Raises:
        UsageError: a configuration that does not fit the data, or a directory that already holds a model.
        AaeError: unreadable data or checkpoint, or a loss that is not finite.
        DeviceError: a device that is not there.
    """
    runtime = resolve_runtime(device, config.training)
    run = Run(fit_config_to_data(config, data), data, runtime, output_dir, progress or Silent())
    refuse_occupied(output_dir, resume=resume, overwrite=overwrite)
    batches, validation = build_batches(run), data.load("validation")
    state = initial_state(run)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if resume:
            resume_from(load_checkpoint(output_dir), state, run)
            _write_metrics(state, run)  # without the lines that are beyond the checkpoint
        else:
            for stale in (DESCRIPTION_FILE, CHECKPOINT_FILE, METRICS_FILE):
                (output_dir / stale).unlink(missing_ok=True)
        write_text(output_dir / CONFIG_FILE, dump_config(run.config))
        _fit(state, batches, validation, run)
        y, _ = encode(state.networks.encoder, validation.images)
        description = _describe(state.networks, y, validation, run)
        save_model(output_dir, state.networks, description)
    except OSError as error:
        raise AaeError(f"model directory {output_dir} cannot be written: {error.strerror or error}") from error
    return description


def _fit(state: TrainingState, batches: Batches, validation: Split, run: Run) -> None:
    """Train the epochs that are left, with a line of metrics and a checkpoint for each."""
    n_epochs = run.config.training.n_epochs
    while state.epoch < n_epochs:
        started = time.perf_counter()
        means = _train_epoch(state, batches, run)
        seconds = time.perf_counter() - started
        state.epoch += 1
        metrics = {
            "epoch": state.epoch,
            **means,
            **_validate(state.networks.encoder, validation, run),
            "seconds": seconds,
            "images_per_second": len(batches.images) / seconds,
        }
        state.history.append(metrics)
        _write_metrics(state, run)
        save_checkpoint(run.output_dir, state, run)
        run.progress.say(_epoch_line(metrics, n_epochs))


def _write_metrics(state: TrainingState, run: Run) -> None:
    write_text(run.output_dir / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in state.history))


def _train_epoch(state: TrainingState, batches: Batches, run: Run) -> dict[str, float]:
    """Run every phase on every batch; return the epoch's mean of each loss term."""
    state.networks.train()
    sums: dict[str, Tensor] = {}
    n_steps, training = batches.steps_per_epoch, run.config.training
    description = f"epoch {state.epoch + 1}/{training.n_epochs}"
    for step, batch in enumerate(run.progress.track(batches.epoch(state.epoch), description, n_steps)):
        factor = rate_factor(training.schedule, state.epoch + step / n_steps, training.n_epochs)
        for runner in state.runners:
            runner.set_rate(factor)
            for name, term in runner.run(batch).items():
                sums[name] = sums[name] + term if name in sums else term
    return {name: total.item() / n_steps for name, total in sums.items()}


def _validate(encoder: Encoder, validation: Split, run: Run) -> dict[str, float]:
    """Accuracies on the validation images, none where they have no labels."""
    known = validation.labels != UNLABELED
    if not known.any():
        return {}
    y, _ = encode(encoder, validation.images)
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
    return ModelDescription(
        toolkit_version=__version__,
        variant=variant,
        architecture=networks.architecture,
        class_names=names,
        category_to_class=mapping,
        category_to_class_from=found,
    )


def _epoch_line(metrics: dict[str, Any], n_epochs: int) -> str:
    parts = [f"epoch {metrics['epoch']}/{n_epochs}"]
    parts += [f"{k.replace('_', ' ')} {100 * v:.2f}%" for k, v in metrics.items() if k.endswith("accuracy")]
    parts += [f"{k} {v:.4f}" for k, v in metrics.items() if k in ("reconstruction", "classification")]
    parts.append(f"{metrics['images_per_second']:.0f} images/s")
    return "  ".join(parts)
