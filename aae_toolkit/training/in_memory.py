"""Training from arrays, without writing anything: the trainer's loop, less its directory."""

from __future__ import annotations

from pathlib import Path

from aae_toolkit import __version__
from aae_toolkit.config import VariantConfig
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.evaluation import encode, fit_category_map
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.progress import Progress
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import Run, build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest
from aae_toolkit.training.trainer import train_epoch


def train_in_memory(
    config: VariantConfig, data: ArrayData, *, device: str, progress: Progress
) -> tuple[TrainedModel, list[dict[str, float]]]:
    """Train one variant; return the model, on the CPU, and each epoch's mean of every loss term.

    A category is the class of its number; those beyond the classes take the majority of the labelled images.

    Raises:
        UsageError: a configuration that does not fit the data.
        AaeError: too few images, or a loss that is not finite.
        DeviceError: a device that is not there.
    """
    runtime = resolve_runtime(device, config.training)
    run = Run(fit_config_to_data(config, data), data, runtime, Path(), progress)
    n_epochs = config.training.n_epochs
    with runtime.at_full_speed():
        batches, spread = build_batches(run)
        state = initial_state(run, batches.n_images, spread)
        never = StopRequest()  # not entered, so that Ctrl-C is a KeyboardInterrupt
        while state.epoch < n_epochs:
            means = train_epoch(state, batches, run, never)
            state.history.append({"epoch": state.epoch + 1, **means, "seconds": state.seconds})
            progress.say(f"epoch {state.epoch + 1}/{n_epochs}  {batches.n_images / state.seconds:.0f} images/s")
            state.epoch, state.step, state.sums, state.n_runs, state.seconds = state.epoch + 1, 0, {}, {}, 0.0
    networks = state.average.eval().requires_grad_(False).to("cpu")
    n_categories, n_classes = networks.architecture.n_classes, len(data.class_names) or networks.architecture.n_classes
    mapping = tuple(range(n_classes))
    if n_categories > n_classes:
        labeled = data.load("train_labeled")
        y, _ = encode(networks.encoder, labeled.images)
        mapping += fit_category_map(y, labeled.labels, n_classes)[n_classes:]
    description = ModelDescription(
        toolkit_version=__version__,
        variant=config.variant,
        architecture=networks.architecture,
        class_names=data.class_names or tuple(f"category_{k}" for k in range(n_categories)),
        category_to_class=mapping,
        category_to_class_from="learned from labels" if data.class_names else "identity: the data has no labels",
    )
    model = TrainedModel(description, networks.encoder, networks.decoder, networks.mode_decoder)
    return model, state.history
