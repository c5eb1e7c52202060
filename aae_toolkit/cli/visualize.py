"""`aae visualize`: pictures of a trained model."""

from __future__ import annotations

from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, ModelDirOption, QuietOption, is_seed_command
from aae_toolkit.cli.scores import show_evaluation, show_seed_lines
from aae_toolkit.cli.showing import dataset_line, seed_dataset_line, show_epochs
from aae_toolkit.config import Variant


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("visualize")(visualize)


def visualize(
    context: typer.Context,
    model_dir_path: ModelDirOption,
    dir_path: DataDirOption,
    mode: Annotated[Variant | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    n_classes: Annotated[int | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    z_size: Annotated[int | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Draw pictures of a trained model.

    Writes pictures of categories, styles, reconstructions and mistakes on the validation set into
    <model>/visualization/, and learning curves into <model>. Pictures that need labels or a mode decoder are left out
    without them.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.data.sources import UNLABELED
    from aae_toolkit.evaluation import evaluate as evaluate_model
    from aae_toolkit.evaluation import load_for, unknown_classes
    from aae_toolkit.files import require_own
    from aae_toolkit.models.directory import load_model
    from aae_toolkit.training.metrics import FILE_NAME as METRICS_FILE
    from aae_toolkit.visualization.curves import draw_learning_curves
    from aae_toolkit.visualization.pictures import DIRECTORY, draw_all

    progress = ConsoleProgress(quiet=quiet)
    require_own(model_dir_path / "visualization")  # a link in an untrusted directory must not redirect the pictures
    model = load_model(model_dir_path)
    for flag, given, actual in (
        ("--mode", mode, model.description.variant),
        ("--n-classes", n_classes, model.architecture.n_classes),
        ("--z-size", z_size, model.architecture.z_size),
    ):
        if given is not None and given != actual:
            progress.say(f"{flag} {given} is ignored: the model in {model_dir_path} has {actual}")
    data = DataDirectory(dir_path)
    if note := model.description.preparation_note(data):
        progress.say(note)
    if is_seed_command(context):
        progress.say("loading data started...")
        progress.say(seed_dataset_line(data.index))
    else:
        progress.say(dataset_line(data.index))
    validation = load_for(model, data, "validation")
    if (validation.labels != UNLABELED).any():
        unknown = unknown_classes(model, data, "validation")
        evaluation = evaluate_model(model, validation, "validation", unknown=unknown)
        show = show_seed_lines if is_seed_command(context) else show_evaluation
        show(evaluation, progress)
    if (model_dir_path / METRICS_FILE).is_file():
        curves = draw_learning_curves(model_dir_path, model.description.variant, len(validation))
        progress.say(f"{len(curves)} learning curves drawn in {model_dir_path}")
    show_epochs(model.description, progress)
    written = draw_all(model, validation, model_dir_path / DIRECTORY, progress)
    progress.say(f"{len(written)} pictures written to {model_dir_path / DIRECTORY}")
