"""Training one variant from a data directory into a model directory: set-up, loop over epochs and phases, results."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aae_toolkit import __version__
from aae_toolkit.config import SemiSupervisedConfig, Variant, VariantConfig, dump_config, with_flags
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.evaluation import Floats, contingency_table, encode, fit_category_map, majority_accuracy
from aae_toolkit.files import write_text
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import Architecture, ModelDescription
from aae_toolkit.models.directory import save_model
from aae_toolkit.models.networks import Networks
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.training.batches import Batches
from aae_toolkit.training.checkpoint import FILE_NAME as CHECKPOINT_FILE
from aae_toolkit.training.checkpoint import load_checkpoint, save_checkpoint
from aae_toolkit.training.device import Runtime, random_state, resolve_runtime, restore_random_state
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.step import PhaseRunner, rate_factor

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yml"


@dataclass
class TrainingState:
    """What a run changes, and all that a checkpoint holds."""

    networks: Networks
    runners: list[PhaseRunner]
    epoch: int = 0  # epochs done
    history: list[dict[str, Any]] = field(default_factory=list)  # a line of metrics.jsonl each


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
    progress = progress or Silent()
    variant: Variant = "semi_supervised" if isinstance(config, SemiSupervisedConfig) else "unsupervised"
    runtime = resolve_runtime(device, config.training)
    config = _fit_config_to_data(config, data)
    _refuse_occupied(output_dir, resume=resume, overwrite=overwrite)
    labeled, unlabeled, validation = (data.load(n) for n in ("train_labeled", "train_unlabeled", "validation"))
    batches = _batches(config, labeled, unlabeled, runtime)
    state = _initial_state(config, data.image_shape, runtime)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if resume:
            _restore(state, load_checkpoint(output_dir), config, variant, data, runtime)
        else:
            for stale in (DESCRIPTION_FILE, CHECKPOINT_FILE, METRICS_FILE):
                (output_dir / stale).unlink(missing_ok=True)
        write_text(output_dir / CONFIG_FILE, dump_config(config, variant))
        y = _run(state, batches, validation, config, variant, data, runtime, output_dir, progress)
        description = _describe(state.networks, y, validation, variant, data.class_names)
        save_model(output_dir, state.networks, description)
    except OSError as error:
        raise AaeError(f"model directory {output_dir} cannot be written: {error.strerror or error}") from error
    return description


def _run(
    state: TrainingState,
    batches: Batches,
    validation: Split,
    config: VariantConfig,
    variant: Variant,
    data: DataDirectory,
    runtime: Runtime,
    output_dir: Path,
    progress: Progress,
) -> Floats:
    """Train the epochs that are left; return y [N, K] of the validation images after the last."""
    n_epochs = config.training.n_epochs
    while state.epoch < n_epochs:
        started = time.perf_counter()
        metrics = _train_epoch(state, batches, config, progress)
        seconds = time.perf_counter() - started
        y, _ = encode(state.networks.encoder, validation.images)
        metrics |= _validate(y, validation, variant, len(data.class_names))
        state.epoch += 1
        n_images = len(batches.images)
        metrics = {"epoch": state.epoch, **metrics, "seconds": seconds, "images_per_second": n_images / seconds}
        state.history.append(metrics)
        # metrics first: a resumed run drops lines beyond its checkpoint
        write_text(output_dir / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in state.history))
        save_checkpoint(output_dir, _checkpoint(state, config, variant, data, runtime))
        progress.say(_epoch_line(metrics, n_epochs))
    return encode(state.networks.encoder, validation.images)[0]


def _train_epoch(state: TrainingState, batches: Batches, config: VariantConfig, progress: Progress) -> dict[str, Any]:
    """Run every phase on every batch; return the epoch's mean of each loss term."""
    state.networks.train()
    sums: dict[str, Tensor] = {}
    n_steps, n_epochs = batches.steps_per_epoch, config.training.n_epochs
    description = f"epoch {state.epoch + 1}/{n_epochs}"
    for step, batch in enumerate(progress.track(batches.epoch(state.epoch), description, n_steps)):
        factor = rate_factor(config.training.schedule, state.epoch + step / n_steps, n_epochs)
        for runner in state.runners:
            runner.set_rate(factor)
            for name, term in runner.run(batch).items():
                sums[name] = sums[name] + term if name in sums else term
    return {name: total.item() / n_steps for name, total in sums.items()}


def _validate(y: Floats, validation: Split, variant: Variant, n_classes: int) -> dict[str, float]:
    """Accuracies on the validation images, none where they have no labels."""
    known = validation.labels != UNLABELED
    if not known.any():
        return {}
    labels, categories = validation.labels[known], y[known].argmax(axis=1)
    if variant == "semi_supervised":
        predicted = np.array(_learned_map(y, validation, n_classes))[categories]
        return {"validation_accuracy": float((predicted == labels).mean())}
    table = contingency_table(labels, categories, n_classes, y.shape[1])
    return {"validation_majority_accuracy": majority_accuracy(table)}


def _learned_map(y: Floats, validation: Split, n_classes: int) -> tuple[int, ...]:
    """Category -> class of the semi-supervised variant: itself, or the majority where it is beyond the classes."""
    further = fit_category_map(y, validation.labels, n_classes)[n_classes:] if y.shape[1] > n_classes else ()
    return (*range(n_classes), *further)


def _describe(
    networks: Networks, y: Floats, validation: Split, variant: Variant, class_names: tuple[str, ...]
) -> ModelDescription:
    """Name the categories, and say how."""
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


def _fit_config_to_data(config: VariantConfig, data: DataDirectory) -> VariantConfig:
    """Resolve `n_classes`, and refuse what the data cannot serve."""
    n_classes = len(data.class_names)
    semi_supervised = isinstance(config, SemiSupervisedConfig)
    if semi_supervised and data.index.splits["train_labeled"].n == 0:
        raise UsageError(f"{data.path} has no labelled training images; train unsupervised, or label some")
    k = config.model.n_classes or n_classes
    if k < 2:
        raise UsageError(f"{data.path} names {n_classes} classes; say how many categories to find with --n-classes")
    if semi_supervised and k < n_classes:
        raise UsageError(
            f"--n-classes {k} is below the {n_classes} labelled classes of {data.path}; ask for at least {n_classes}"
        )
    map_is_fitted = not semi_supervised or k > n_classes
    if n_classes and map_is_fitted and data.index.splits["validation"].n == 0:
        raise UsageError(
            f"{data.path} has no validation images to name the categories by; write it with --validation above 0"
        )
    return with_flags(config, n_classes=k)


def _refuse_occupied(output_dir: Path, *, resume: bool, overwrite: bool) -> None:
    occupied = [name for name in (DESCRIPTION_FILE, CHECKPOINT_FILE) if (output_dir / name).exists()]
    if occupied and not (resume or overwrite):
        raise UsageError(
            f"{output_dir} already holds a training ({', '.join(occupied)}); continue it with --resume, replace it with"
            " --overwrite, or name another --output-dir-path"
        )


def _batches(config: VariantConfig, labeled: Split, unlabeled: Split, runtime: Runtime) -> Batches:
    semi_supervised = isinstance(config, SemiSupervisedConfig)
    passed = unlabeled
    if len(unlabeled) < len(labeled):  # mostly labelled images: an epoch passes over all of them, labels unread
        images = np.concatenate([unlabeled.images, labeled.images])
        passed = Split(images, np.full(len(images), UNLABELED))
    if len(passed) < 2:
        raise AaeError(f"{len(passed)} training images; at least 2 are needed")
    training = config.training
    return Batches(passed, labeled if semi_supervised else None, training.batch_size, training.seed, runtime.device)


def _initial_state(config: VariantConfig, image_shape: tuple[int, int, int], runtime: Runtime) -> TrainingState:
    torch.manual_seed(config.training.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = runtime.precision != "fp32"
    model = config.model
    assert model.n_classes is not None
    architecture = Architecture(
        encoder=model.encoder,
        hidden_size=model.hidden_size,
        conv_channels=model.conv_channels,
        encoder_dropout=model.encoder_dropout,
        image_shape=image_shape,
        n_classes=model.n_classes,
        z_size=model.z_size,
    )
    with_modes = getattr(config.training, "use_mode_decoder", False)
    networks = Networks(architecture, mode_decoder=with_modes).to(runtime.device)
    return TrainingState(networks, [PhaseRunner(phase, runtime) for phase in build_phases(networks, config)])


def _checkpoint(
    state: TrainingState, config: VariantConfig, variant: Variant, data: DataDirectory, runtime: Runtime
) -> dict[str, Any]:
    return {
        "data": _fingerprint(data),
        "config": dump_config(config, variant),
        "epoch": state.epoch,
        "history": state.history,
        "networks": state.networks.state_dict(),
        "phases": {runner.phase.name: runner.state_dict() for runner in state.runners},
        "random": random_state(runtime.device),
    }


def _restore(
    state: TrainingState,
    checkpoint: dict[str, Any],
    config: VariantConfig,
    variant: Variant,
    data: DataDirectory,
    runtime: Runtime,
) -> None:
    if checkpoint["data"] != _fingerprint(data):
        raise UsageError(
            f"--resume: the checkpoint was trained on other data than {data.path}; name that data directory"
        )
    asked = dump_config(config, variant)
    if checkpoint["config"] != asked:
        pairs = zip(checkpoint["config"].splitlines(), asked.splitlines(), strict=False)
        found, wanted = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("another variant", "this one"))
        raise UsageError(
            f"--resume: the checkpoint was trained with {found!r}, asked for {wanted!r}; use the same settings"
        )
    state.networks.load_state_dict(checkpoint["networks"])
    for runner in state.runners:
        runner.load_state_dict(checkpoint["phases"][runner.phase.name])
    state.epoch, state.history = checkpoint["epoch"], checkpoint["history"]
    restore_random_state(checkpoint["random"], runtime.device)


def _fingerprint(data: DataDirectory) -> dict[str, str]:
    """Checksums of what training reads; a resumed run must read the same."""
    return {name: split.sha256 for name, split in data.index.splits.items() if name != "test"}


def _epoch_line(metrics: dict[str, Any], n_epochs: int) -> str:
    parts = [f"epoch {metrics['epoch']}/{n_epochs}"]
    parts += [f"{k.replace('_', ' ')} {100 * v:.2f}%" for k, v in metrics.items() if k.endswith("accuracy")]
    parts += [f"{k} {v:.4f}" for k, v in metrics.items() if k in ("reconstruction", "classification")]
    parts.append(f"{metrics['images_per_second']:.0f} images/s")
    return "  ".join(parts)
