"""`aae visualize`: pictures of a trained model."""

from __future__ import annotations

from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, ModelDirOption, QuietOption
from aae_toolkit.cli.showing import dataset_line, show_evaluation
from aae_toolkit.config import Variant


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("visualize")(visualize)


def visualize(
    model_dir_path: ModelDirOption,
    dir_path: DataDirOption,
    mode: Annotated[Variant | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    n_classes: Annotated[int | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    z_size: Annotated[int | None, typer.Option(hidden=True, help="Flag of the seed document; ignored.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Draw pictures of a trained model.

    Writes pictures of categories, styles, reconstructions and mistakes on the validation set into
    <model>/visualization/. Pictures that need labels or a mode decoder are left out without them.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.data.sources import UNLABELED
    from aae_toolkit.evaluation import evaluate as evaluate_model
    from aae_toolkit.evaluation import load_for, unknown_classes
    from aae_toolkit.files import require_own
    from aae_toolkit.models.directory import load_model
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
    progress.say("loading data started...")
    progress.say(dataset_line(data.index))
    validation = load_for(model, data, "validation")
    if (validation.labels != UNLABELED).any():
        unknown = unknown_classes(model, data, "validation")
        show_evaluation(evaluate_model(model, validation, "validation", unknown=unknown), progress)
    written = draw_all(model, validation, model_dir_path / DIRECTORY, progress)
    progress.say(f"{len(written)} pictures written to {model_dir_path / DIRECTORY}")
