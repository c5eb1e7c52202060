"""`aae train semi-supervised` and `aae train unsupervised`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import DataDirOption, DeviceOption, QuietOption, VerboseOption
from aae_toolkit.cli.training_run import TrainingOptions, run_training
from aae_toolkit.config import TrainingPrecision, Variant
from aae_toolkit.config.auto import AUTO

_OutputDir = Annotated[Path | None, typer.Option("--output", "-o", help="Model directory; default: <data>/<variant>.")]
_Config = Annotated[
    str,
    typer.Option(
        "--config",
        help="YAML file, name of a shipped configuration, or auto, which chooses settings for the data; flags override"
        " it.",
    ),
]
_Epochs = Annotated[
    int | None, typer.Option("--n-epochs", help="Passes over the unlabelled images; default: the configuration's.")
]
_ZSize = Annotated[
    int | None, typer.Option("--z-size", help="Number of style dimensions (units of z); default: the configuration's.")
]
_Classes = Annotated[
    int | None, typer.Option("--n-classes", help="Number of categories (units of y); default: the number of classes.")
]
_BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Images per step, over all processes; default: the configuration's.")
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Random seed; default: the configuration's.")]
_Precision = Annotated[
    TrainingPrecision | None,
    typer.Option("--precision", help="Arithmetic of matrix products; default: the configuration's."),
]
_Compile = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="Use torch.compile; default: on CUDA only.")
]
_Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic", help="Reproduce the weights bit for bit, on the same machine and number of threads."
    ),
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Continue from the model directory's checkpoint, if there is one.")
]
_CheckpointEvery = Annotated[
    int | None, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints; default: once per epoch.")
]
_PlotEvery = Annotated[
    int | None,
    typer.Option("--plot-every", min=1, help="Draw the model in training every N epochs; default: never."),
]
_TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write TensorBoard event files into <model>/tensorboard/.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model that is already there.")]


_VARIANT_HELP: dict[Variant, str] = {
    "semi_supervised": "Train with a small labelled set and many unlabelled images.",
    "unsupervised": "Train without labels; categories are named afterwards, on the validation images.",
}


def register(app: typer.Typer) -> None:
    """Add the group and its two commands."""
    group = typer.Typer(no_args_is_help=True, help="Train an adversarial autoencoder.")
    for variant, help_text in _VARIANT_HELP.items():
        group.command(variant.replace("_", "-"), help=help_text)(_command(variant))
    app.add_typer(group, name="train")


def _command(variant: Variant) -> Callable[..., None]:
    """Return the command of one variant; both take the same flags."""

    def train(
        dir_path: DataDirOption,
        output_dir_path: _OutputDir = None,
        config_path: _Config = AUTO,
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
        }
        options = TrainingOptions(
            variant,
            dir_path,
            output_dir_path,
            config_path,
            flags,
            device,
            resume=resume,
            overwrite=overwrite,
            checkpoint_every=checkpoint_every,
            plot_every=plot_every,
            tensorboard=tensorboard,
            quiet=quiet,
            verbose=verbose,
        )
        run_training(options)

    return train
