"""`aae train semi-supervised` and `aae train unsupervised`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from aae_toolkit.cli.options import QuietOption, VerboseOption, configuration_names, device_option, is_seed_command
from aae_toolkit.cli.parsing import resumed_directory
from aae_toolkit.cli.resuming import variant_of
from aae_toolkit.cli.training_options import TrainingOptions
from aae_toolkit.cli.training_run import run_training
from aae_toolkit.config import Keep, TrainingPrecision, Variant
from aae_toolkit.config.auto import AUTO
from aae_toolkit.errors import UsageError

_OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Model directory to write; default: semi_supervised or unsupervised in the data directory.",
    ),
]
_DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data directory, written by aae init-datasets; default with --resume: that of the run.",
    ),
]
_Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="auto|NAME|FILE",
        help="Settings: chosen for the data (auto), those of a shipped configuration such as labels-100, or those of a"
        " YAML file. Flags override them.",
        autocompletion=configuration_names,
    ),
]
_Epochs = Annotated[
    int | None, typer.Option("--n-epochs", help="Passes over the training images; default: the configuration's.")
]
_ZSize = Annotated[
    int | None, typer.Option("--z-size", help="Size of the style code z, in numbers; default: the configuration's.")
]
_Classes = Annotated[
    int | None,
    typer.Option(
        "--n-classes",
        help="Number of categories to learn; default: the configuration's, or else the number of classes.",
    ),
]
_BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", help="Images per training step, in all processes together; default: the configuration's."
    ),
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Random seed for training; default: the configuration's.")]
_Precision = Annotated[
    TrainingPrecision | None,
    typer.Option("--precision", help="Number format of matrix products; default: the configuration's."),
]
_Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the steps with torch.compile: a later start, then faster steps; default: the configuration's, or"
        " else on CUDA only.",
    ),
]
_Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic",
        help="Give the same weights, bit for bit, in every run on this machine with the same number of threads.",
    ),
]
_Device = Annotated[str | None, device_option("Device to run on", further="; default: auto")]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue the training in the model directory that follows (--resume MODEL), or else in --output, with its"
        " own data and settings. --n-epochs extends a finished one.",
    ),
]
_Keep = Annotated[
    Keep | None,
    typer.Option(
        "--keep",
        help="Epoch whose weights become the model: last, or best on at least 500 labelled validation images"
        " (semi-supervised only); default: the configuration's.",
    ),
]
_CheckpointEvery = Annotated[
    int | None, typer.Option("--checkpoint-every", min=1, help="Save a checkpoint every N steps; default: every epoch.")
]
_PlotEvery = Annotated[
    int | None,
    typer.Option("--plot-every", min=1, help="Draw pictures of the model every N epochs; default: never."),
]
_TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write TensorBoard event files into <model>/tensorboard/.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model that is already there.")]


_WRITES = (
    "Writes a model directory: the networks, their settings (config.yml), metrics of each epoch and learning curves."
)
_VARIANT_HELP: dict[Variant, str] = {
    "semi_supervised": f"Train with few labels and many unlabelled images.\n\n{_WRITES}",
    "unsupervised": f"Train without labels.\n\n{_WRITES} Labelled validation images, if there are any, name the"
    " categories.",
}


def register(app: typer.Typer) -> None:
    """Add the group and its two commands."""
    group = typer.Typer(
        no_args_is_help=True,
        cls=_Group,
        help="Train a classifier (an adversarial autoencoder). aae train --resume MODEL continues a training.",
    )
    for variant, help_text in _VARIANT_HELP.items():
        group.command(variant.replace("_", "-"), help=help_text)(_command(variant))
    app.add_typer(group, name="train")


class _Group(TyperGroup):
    """Group in which the training that is resumed names the variant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args`; those without a command get that of the training that they resume."""
        directory = resumed_directory(args)
        if args[0:1] and args[0].startswith("-") and directory is not None:
            args = [variant_of(Path(directory)).replace("_", "-"), *args]
        return super().parse_args(ctx, args)


def _keep(keep: Keep | None, variant: Variant) -> Keep | None:
    """Return the setting, which only the semi-supervised variant has."""
    if variant == "semi_supervised" or keep is None:
        return keep
    if keep == "best":
        raise UsageError(
            "--keep best: without supervision no label may choose an epoch, and validation labels only name the"
            " categories; leave it out"
        )
    return None


def _command(variant: Variant) -> Callable[..., None]:
    """Return the command of one variant; both take the same flags."""

    def train(
        context: typer.Context,
        dir_path: _DataDir = None,
        output_dir_path: _OutputDir = None,
        config_path: _Config = AUTO,
        n_epochs: _Epochs = None,
        z_size: _ZSize = None,
        n_classes: _Classes = None,
        batch_size: _BatchSize = None,
        seed: _Seed = None,
        device: _Device = None,
        precision: _Precision = None,
        compile: _Compile = None,  # noqa: A002  (the flag's name)
        deterministic: _Deterministic = None,
        keep: _Keep = None,
        resume: _Resume = False,
        overwrite: _Overwrite = False,
        checkpoint_every: _CheckpointEvery = None,
        plot_every: _PlotEvery = None,
        tensorboard: _TensorBoard = False,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
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
            "keep": _keep(keep, variant),
        }
        source = context.get_parameter_source("config_path")
        is_default = resume and source is not None and source.name != "COMMANDLINE"
        options = TrainingOptions(
            variant,
            dir_path,
            output_dir_path,
            None if is_default else config_path,
            flags,
            device,
            resume=resume,
            overwrite=overwrite,
            checkpoint_every=checkpoint_every,
            plot_every=plot_every,
            tensorboard=tensorboard,
            quiet=quiet,
            verbose=verbose,
            as_seed=is_seed_command(context),
        )
        run_training(options)

    return train
