"""One training as commands start it: configuration, data, training and learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.cli.showing import dataset_line
from aae_toolkit.config import Variant, VariantConfig, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Progress, Silent

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.training.observer import Observer


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one training.

    Attributes:
        variant: `semi_supervised` or `unsupervised`.
        data_dir: data directory.
        output_dir: model directory; None is `<data_dir>/<variant>`.
        config: YAML file, the name of a shipped one, or `auto`.
        flags: configuration values that replace the file's; None keeps the file's.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        resume: continue from the model directory's checkpoint, if it has one.
        overwrite: replace a model that is already there.
        checkpoint_every: steps between checkpoints; None is one per epoch.
        plot_every: epochs between pictures of the model in training; None draws none.
        tensorboard: write TensorBoard event files.
        quiet: print errors only.
        verbose: print all settings.
    """

    variant: Variant
    data_dir: Path
    output_dir: Path | None = None
    config: str = AUTO
    flags: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    checkpoint_every: int | None = None
    plot_every: int | None = None
    tensorboard: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def model_dir(self) -> Path:
        """Model directory, given or derived from the data directory."""
        return self.output_dir or self.data_dir / self.variant


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
    if options.config != AUTO:
        load_config(options.config, options.variant)  # refused before the data is read
    from aae_toolkit.data.directory import DataDirectory

    data = DataDirectory(options.data_dir)
    model_dir = options.model_dir
    progress.say("loading data started...")
    progress.say(dataset_line(data.index))
    config = with_flags(_configuration(data, options, progress), **options.flags)
    progress.say(f"using configuration: {config.model_dump(mode='json')}")
    from aae_toolkit.training.trainer import train
    from aae_toolkit.visualization.curves import draw_learning_curves

    with ExitStack() as stack:
        train(
            config,
            data,
            model_dir,
            device=options.device,
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
    return model_dir


def _configuration(data: DataDirectory, options: TrainingOptions, progress: Progress) -> VariantConfig:
    """Load or choose the configuration; a resumed run keeps what was chosen for it."""
    from aae_toolkit.training.choosing import configuration_for
    from aae_toolkit.training.run import CHECKPOINT_FILE
    from aae_toolkit.training.trainer import CONFIG_FILE

    source = options.config
    if source == AUTO and options.resume and (options.model_dir / CHECKPOINT_FILE).exists():
        source = str(options.model_dir / CONFIG_FILE)
    return configuration_for(data, source, options.variant, progress, options.flags.get("n_classes"))


def _observers(options: TrainingOptions, stack: ExitStack) -> list[Observer]:
    """Observers of each epoch's end; `stack` closes them."""
    from aae_toolkit.visualization.live import LivePictures
    from aae_toolkit.visualization.tensorboard import TensorBoardLog

    observers: list[Observer] = [LivePictures(options.model_dir, options.plot_every)]
    if options.tensorboard:
        observers.append(stack.enter_context(TensorBoardLog(options.model_dir)))
    return observers
