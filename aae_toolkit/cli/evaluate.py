"""`aae evaluate`: metrics of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, JsonOption, ModelDirOption, print_json
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.evaluation import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    model_dir_path: ModelDirOption,
    dir_path: DataDirOption,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which images to score.")] = "validation",
    json: JsonOption = False,
) -> None:
    """Score a trained model.

    Accuracy, clustering scores, and a line per class.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.evaluation import evaluate as evaluate_model
    from aae_toolkit.models.directory import load_model

    model, data = load_model(model_dir_path), DataDirectory(dir_path)
    model.description.require_class_names(data.class_names)
    evaluation = evaluate_model(model, data.load(split), split)
    if json:
        print_json(evaluation.to_json())
    else:
        show(evaluation, ConsoleProgress())


def show(evaluation: Evaluation, progress: ConsoleProgress) -> None:
    """Print the scores for people."""
    for report in evaluation.per_class:
        if report.best_category is not None:
            share = percent(report.share_in_best_category)
            progress.say(f"Label {report.class_name}: {share}, Best matching label; {report.best_category}")
    if evaluation.never_predicted_categories:
        progress.say(f"never predicted: categories {', '.join(map(str, evaluation.never_predicted_categories))}")
    table = Table(title=f"{evaluation.variant.replace('_', '-')}, {evaluation.split}, n = {evaluation.n}")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_row("accuracy of the label", percent(evaluation.accuracy))
    table.add_row("majority accuracy, map refitted here", percent(evaluation.majority_accuracy))
    table.add_row("Hungarian accuracy", percent(evaluation.hungarian_accuracy))
    table.add_row("NMI", f"{evaluation.nmi:.4f}")
    table.add_row("ARI", f"{evaluation.ari:.4f}")
    progress.console.print(table)
    progress.say(f"ACCURACY: {percent(evaluation.accuracy)}")
