"""`aae train semi-supervised` and `aae train unsupervised`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aae_toolkit.cli.init_datasets import dataset_line
from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, DeviceOption
from aae_toolkit.config import DEFAULT_CONFIG, TrainingPrecision, Variant, load_config, with_flags
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.progress import Progress, Silent

if TYPE_CHECKING:
    from aae_toolkit.training.observer import Observer

_OutputDir = Annotated[
    Path | None, typer.Option("--output-dir-path", help="Model directory; default: <dir-path>/<variant>.")
]
_Config = Annotated[str, typer.Option("--config-path", help="YAML file, or the name of a shipped one.")]
_Epochs = Annotated[int | None, typer.Option("--n-epochs", help="Passes over the unlabelled images; default 35.")]
_ZSize = Annotated[int | None, typer.Option("--z-size", help="Style dimensions; default 2.")]
_Classes = Annotated[
    int | None, typer.Option("--n-classes", help="Categories (units of y); default: as many as the data has classes.")
]
_BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Images a step, of all processes together; default 100.")
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Of weights, noise and order; default 0.")]
_Precision = Annotated[TrainingPrecision | None, typer.Option("--precision", help="Arithmetic; default auto.")]
_Compile = Annotated[bool | None, typer.Option("--compile/--no-compile", help="torch.compile; default: on CUDA only.")]
_Deterministic = Annotated[
    bool | None,
    typer.Option("--deterministic", help="The same weights bit for bit each time, on one machine; default: no."),
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the model directory's checkpoint; start where there is none.")
]
_CheckpointEvery = Annotated[
    int | None, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints; default: each epoch.")
]
_PlotEvery = Annotated[
    int | None,
    typer.Option("--plot-every", min=1, help="Epochs between pictures of the training model; default: none."),
]
_TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write what TensorBoard shows, into <model>/tensorboard/.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model that is already there.")]


_VARIANT_HELP: dict[Variant, str] = {
    "semi_supervised": "Train with a small labelled set and many unlabelled images.",
    "unsupervised": "Train without any label; categories are named afterwards, on the validation images.",
}


def register(app: typer.Typer) -> None:
    """Add the group and its two commands."""
    group = typer.Typer(no_args_is_help=True, help="Train an adversarial autoencoder.")
    for variant, help_text in _VARIANT_HELP.items():
        group.command(variant.replace("_", "-"), help=help_text)(_command(variant))
    app.add_typer(group, name="train")


def _command(variant: Variant) -> Callable[..., None]:
    """The command of one variant; both take the same flags."""

    def train(
        dir_path: DataDirOption,
        output_dir_path: _OutputDir = None,
        config_path: _Config = DEFAULT_CONFIG,
        n_epochs: _Epochs = None,
        z_size: _ZSize = None,
        n_classes: _Classes = None,
        batch_size: _BatchSize = None,
        seed: _Seed = None,
        device: DeviceOption = "auto",
        precision: _Precision = None,
        compile: _Compile = None,  # noqa: A002  (the flag's name)
        deterministic: _Deterministic = None,
        resume: _Resume = False,
        overwrite: _Overwrite = False,
        checkpoint_every: _CheckpointEvery = None,
        plot_every: _PlotEvery = None,
        tensorboard: _TensorBoard = False,
    ) -> None:
        flags = {
            "n_epochs": n_epochs,
            "z_size": z_size,
            "n_classes": n_classes,
            "batch_size": batch_size,
            "seed": seed,
            "precision": precision,
            "compile": compile,
            "deterministic": deterministic,
        }
        run_training(
            variant,
            dir_path,
            output_dir_path,
            config_path,
            flags,
            device,
            resume,
            overwrite,
            checkpoint_every,
            plot_every,
            tensorboard,
        )

    return train


def _observers(output_dir: Path, plot_every: int | None, tensorboard: bool, stack: ExitStack) -> list[Observer]:
    """Who is shown the model at each epoch's end; `stack` closes them."""
    from aae_toolkit.visualization.live import LivePictures
    from aae_toolkit.visualization.tensorboard import TensorBoardLog

    observers: list[Observer] = [LivePictures(output_dir, plot_every)]
    if tensorboard:
        observers.append(stack.enter_context(TensorBoardLog(output_dir)))
    return observers


def run_training(
    variant: Variant,
    dir_path: Path,
    output_dir_path: Path | None,
    config_path: str,
    flags: dict[str, Any],
    device: str,
    resume: bool,
    overwrite: bool,
    checkpoint_every: int | None = None,
    plot_every: int | None = None,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Load configuration and data, train, draw the learning curves; return the model directory."""
    main = world_from_environment().is_main
    progress = progress or (ConsoleProgress() if main else Silent())
    config = with_flags(load_config(config_path, variant), **flags)
    from aae_toolkit.data.directory import DataDirectory

    data = DataDirectory(dir_path)
    output_dir = output_dir_path or dir_path / variant
    progress.say("loading data started...")
    progress.say(dataset_line(data.index))
    progress.say(f"using configuration: {config.model_dump(mode='json')}")
    from aae_toolkit.training.trainer import train
    from aae_toolkit.visualization.curves import draw_learning_curves

    with ExitStack() as stack:
        train(
            config,
            data,
            output_dir,
            device=device,
            resume=resume,
            overwrite=overwrite,
            checkpoint_every=checkpoint_every,
            derived=[output_dir / "export" / "manifest.json"],  # what it names was exported from a model that goes
            progress=progress,
            observers=_observers(output_dir, plot_every, tensorboard, stack) if main else (),
        )
    if not main:
        return output_dir
    draw_learning_curves(output_dir, variant)
    progress.say(f"model written to {output_dir}")
    return output_dir
