"""`aae evaluate`: metrics of a trained model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, JsonOption, ModelDirOption, print_json
from aae_toolkit.cli.showing import show_evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    model_dir_path: ModelDirOption,
    dir_path: DataDirOption,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Images to score.")] = "validation",
    json: JsonOption = False,
) -> None:
    """Score a trained model.

    Prints accuracy, clustering scores, and one line per class.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.evaluation import evaluate as evaluate_model
    from aae_toolkit.evaluation import load_for
    from aae_toolkit.models.directory import load_model

    model, data = load_model(model_dir_path), DataDirectory(dir_path)
    model.description.require_class_names(data.class_names)
    if note := model.description.preparation_note(data):
        ConsoleProgress(stderr=True).say(note)
    evaluation = evaluate_model(model, load_for(model, data, split), split)
    if json:
        print_json(evaluation.to_json())
    else:
        show_evaluation(evaluation, ConsoleProgress())
