"""`aae evaluate`: metrics of a trained model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, JsonOption, ModelDirOption, QuietOption, print_json
from aae_toolkit.cli.showing import show_evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    model_dir_path: ModelDirOption,
    dir_path: DataDirOption,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Images to score.")] = "validation",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a trained model.

    Prints accuracy, clustering scores, and one line per class. Classes are matched by name: those without images are
    named, and images of classes that the model does not know are counted, not scored.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.evaluation import evaluate as evaluate_model
    from aae_toolkit.evaluation import load_for, unknown_classes
    from aae_toolkit.models.directory import load_model

    model, data = load_model(model_dir_path), DataDirectory(dir_path)
    images, progress = load_for(model, data, split), ConsoleProgress(stderr=json, quiet=quiet)
    evaluation = evaluate_model(model, images, split, unknown=unknown_classes(model, data, split), data=data)
    if note := model.description.preparation_note(data):
        progress.say(note)
    if images.images.max() <= 1:
        progress.say(f"{split} images of {data.path} hold no value above 1, and pixels are 0 to 255")
    if json:
        print_json(evaluation.to_json())
    else:
        show_evaluation(evaluation, progress)
