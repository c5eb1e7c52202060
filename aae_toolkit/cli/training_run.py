"""One training as commands start it: configuration, data, training and learning curves."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from aae_toolkit.cli.options import ConsoleProgress, require_one
from aae_toolkit.cli.resuming import Recorder, configuration_of, take_up
from aae_toolkit.cli.settings import show_settings
from aae_toolkit.cli.showing import dataset_line, seed_dataset_line
from aae_toolkit.cli.training_options import TrainingOptions
from aae_toolkit.config import VariantConfig, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.progress import Progress, Silent

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.models.description import ModelDescription
    from aae_toolkit.training.observer import Observer


def run_training(options: TrainingOptions) -> Path:
    """Load configuration and data, train, and draw the learning curves; return the model directory.

    Raises:
        AaeError: data or model directory cannot be used, or training failed.
        UsageError: the configuration or a flag is invalid.
    """
    require_one(quiet=options.quiet, verbose=options.verbose)
    main = world_from_environment().is_main
    console = ConsoleProgress(quiet=options.quiet)
    progress: Progress = console if main else Silent()
    if options.resume:
        options = take_up(options)
    if options.config not in (None, AUTO):
        load_config(options.config, options.variant)  # refused before the data is read
    from aae_toolkit.data.directory import DataDirectory

    data = DataDirectory(options.data)
    model_dir = options.model_dir
    from aae_toolkit.training.setup import refuse_occupied
    from aae_toolkit.training.trainer import train

    if main:
        refuse_occupied(model_dir, resume=options.resume, overwrite=options.overwrite)  # before anything is said
        _say_data(data, options, console)
    config = _configuration(data, options, console if main else None)
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
        draw_learning_curves(model_dir, options.variant, sum(data.index.splits["validation"].class_counts.values()))
        _conclude(description, model_dir, console)
    return model_dir


def _conclude(description: ModelDescription, model_dir: Path, progress: ConsoleProgress) -> None:
    """Say where the model is and, last of all, even if quiet, what is wrong with its labels."""
    diagnosis = description.diagnosis
    found = diagnosis if diagnosis and not diagnosis.is_healthy else None
    if found and not found.concerns_labels:
        progress.say(f"note: {found.line}")
    progress.say(f"model written to {model_dir}")
    if description.epochs and description.epochs.choice:
        progress.say(f"its weights are of {description.epochs.choice}")
    if found and found.concerns_labels:
        progress.result(found.line)


def _say_data(data: DataDirectory, options: TrainingOptions, progress: ConsoleProgress) -> None:
    """Print the sizes of the data set."""
    if options.as_seed:
        progress.say("loading data started...")
    progress.say((seed_dataset_line if options.as_seed else dataset_line)(data.index))


def _configuration(data: DataDirectory, options: TrainingOptions, console: ConsoleProgress | None) -> VariantConfig:
    """Load or choose the configuration, and print it; a resumed training keeps its own."""
    from aae_toolkit.machine.device import resolve_device
    from aae_toolkit.training.choosing import configuration_for
    from aae_toolkit.training.setup import fit_config_to_data

    resolve_device(options.device or "auto")  # refused before settings are chosen
    config = resumed = configuration_of(options)
    source = options.config or AUTO
    if config is None:
        chosen, choices = configuration_for(data, source, options.variant, options.flags.get("n_classes"))
        config = with_flags(chosen, **options.flags)
    fit_config_to_data(config, data)  # refused before it is shown
    if console and options.as_seed:
        console.say(f"using configuration: {config.model_dump(mode='json')}")
    elif console and resumed:
        console.say(f"settings: those of the training in {options.model_dir}")
    elif console:
        show_settings(chosen, config, choices, source, console, verbose=options.verbose)
    return config


def _observers(options: TrainingOptions, stack: ExitStack) -> list[Observer]:
    """Observers of each epoch's end; `stack` closes them."""
    from aae_toolkit.visualization.live import LivePictures
    from aae_toolkit.visualization.tensorboard import TensorBoardLog

    observers: list[Observer] = [Recorder(options), LivePictures(options.model_dir, options.plot_every)]
    if options.tensorboard:
        observers.append(stack.enter_context(TensorBoardLog(options.model_dir)))
    return observers
