"""One training as commands start it: configuration, data, training and learning curves."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.cli.resuming import Recorder, configuration_of, take_up
from aae_toolkit.cli.showing import dataset_line
from aae_toolkit.cli.training_options import TrainingOptions
from aae_toolkit.config import VariantConfig, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Progress, Silent

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.training.observer import Observer


def run_training(options: TrainingOptions) -> Path:
    """Load configuration and data, train, and draw the learning curves; return the model directory.

    Raises:
        AaeError: data or model directory cannot be used, or training failed.
        UsageError: the configuration or a flag is invalid.
    """
    if options.quiet and options.verbose:
        raise UsageError("--quiet prints less, --verbose more; give one of them")
    main = world_from_environment().is_main
    progress: Progress = ConsoleProgress(quiet=options.quiet) if main else Silent()
    if options.resume:
        options = take_up(options)
    if options.config not in (None, AUTO):
        load_config(options.config, options.variant)  # refused before the data is read
    from aae_toolkit.data.directory import DataDirectory

    data = DataDirectory(options.data)
    model_dir = options.model_dir
    progress.say("loading data started...")
    progress.say(dataset_line(data.index))
    config = configuration_of(options) or _configuration(data, options, progress)
    progress.say(f"using configuration: {config.model_dump(mode='json')}")
    from aae_toolkit.training.trainer import train
    from aae_toolkit.visualization.curves import draw_learning_curves

    with ExitStack() as stack:
        description = train(
            config,
            data,
            model_dir,
            device=options.device or "auto",
            resume=options.resume,
            overwrite=options.overwrite,
            checkpoint_every=options.checkpoint_every,
            derived=[model_dir / "export" / "manifest.json"],  # an export of the model that is replaced
            progress=progress,
            observers=_observers(options, stack) if main else (),
        )
    if main:
        draw_learning_curves(model_dir, options.variant)
        progress.say(f"model written to {model_dir}")
        if description.epochs and description.epochs.choice:
            progress.say(f"its weights are of {description.epochs.choice}")
    return model_dir


def _configuration(data: DataDirectory, options: TrainingOptions, progress: Progress) -> VariantConfig:
    """Load or choose the configuration of a new training."""
    from aae_toolkit.training.choosing import configuration_for

    n_categories = options.flags.get("n_classes")
    chosen = configuration_for(data, options.config or AUTO, options.variant, progress, n_categories)
    return with_flags(chosen, **options.flags)


def _observers(options: TrainingOptions, stack: ExitStack) -> list[Observer]:
    """Observers of each epoch's end; `stack` closes them."""
    from aae_toolkit.visualization.live import LivePictures
    from aae_toolkit.visualization.tensorboard import TensorBoardLog

    observers: list[Observer] = [Recorder(options), LivePictures(options.model_dir, options.plot_every)]
    if options.tensorboard:
        observers.append(stack.enter_context(TensorBoardLog(options.model_dir)))
    return observers
