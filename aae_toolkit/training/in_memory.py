"""Training from arrays, without a directory: nothing is written, and Ctrl-C is a KeyboardInterrupt."""

from __future__ import annotations

from pathlib import Path

from aae_toolkit.config import VariantConfig
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.errors import UsageError
from aae_toolkit.evaluation import encode
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.progress import Progress
from aae_toolkit.training.best import keeps_best
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.naming import describe, name_categories
from aae_toolkit.training.run import Run
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest


def train_in_memory(
    config: VariantConfig, data: ArrayData, *, device: str, progress: Progress
) -> tuple[TrainedModel, list[dict[str, float]]]:
    """Train one variant; return the model, on the CPU, and each epoch's mean of every loss term.

    A category is the class of its number; those beyond the classes take the majority of the labelled images.

    Raises:
        UsageError: a configuration that does not fit the data, or that keeps the best epoch.
        AaeError: too few images, or a loss that is not finite.
        DeviceError: a device that is not there.
    """
    if keeps_best(config):
        raise UsageError("training.keep: best chooses by validation images, and arrays have none; set it to last")
    runtime = resolve_runtime(device, config.training)
    run = Run(fit_config_to_data(config, data), data, runtime, Path(), progress)
    with runtime.at_full_speed():
        batches, first_y = build_batches(run)
        state = initial_state(run, batches.n_images, first_y, batches.moments())
        for epoch in train_epochs(state, batches, run, StopRequest()):  # not entered: signals stay as they are
            state.history.append({"epoch": epoch.number, **epoch.means, "seconds": epoch.seconds})
            progress.say(f"epoch {epoch.number}/{config.training.n_epochs}  {epoch.images_per_second:.0f} images/s")
    networks = state.average.eval().requires_grad_(False).to("cpu")
    labeled = data.load_inputs("train_labeled")
    y, _ = encode(networks.encoder, labeled.images)
    naming = name_categories(y, labeled.labels, run)
    if data.class_names:
        naming = naming._replace(category_to_class_from="learned from labels")
    model = TrainedModel(describe(networks, naming, run), networks.encoder, networks.decoder, networks.mode_decoder)
    return model, state.history
