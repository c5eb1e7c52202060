"""`aae name-categories`: names for the categories of a model that was trained without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption, QuietOption
from aae_toolkit.html.rendering import command
from aae_toolkit.text import shown

if TYPE_CHECKING:
    from aae_toolkit.models.description import ModelDescription


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("name-categories")(name_categories)


def name_categories(
    model_dir_path: ModelDirOption,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=CATEGORY...",
            help="Name, and the numbers of its categories: cat=0,3 'big dog=1'. Without any, lists the categories.",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Name the categories of a model that was trained without labels.

    Categories with the same name become one class. A category that is not mentioned keeps its name. Exports that are
    written afterwards carry the names. A picture of aae visualize, modes_and_samples_from_each_label.png, shows images
    of each category.
    """
    from aae_toolkit.models.category_names import parse_names, read_model, write_names

    progress = ConsoleProgress(quiet=quiet)
    given = parse_names(names or ())
    before = read_model(model_dir_path)
    after = write_names(model_dir_path, given, progress) if given else before
    progress.console.print(_table(before, after, progress))
    if not given:
        _show_where_to_look(model_dir_path, progress)
        return
    progress.say(f"{len(after.class_names)} classes written to {model_dir_path / 'model.json'}")
    if (model_dir_path / "export" / "manifest.json").exists():
        progress.say(f"{model_dir_path / 'export'} still has the earlier names; write it again with:")
    else:
        progress.say("for a file that carries the names:")
    progress.say(f"  {command('aae', 'export', '--model', model_dir_path)}")


def _table(before: ModelDescription, after: ModelDescription, progress: ConsoleProgress) -> Table:
    """List each category with its name, and with its earlier one where that differs."""
    table = Table()
    table.add_column("category", justify="right")
    table.add_column("name")
    columns = [[d.class_names[c] for c in d.category_to_class] for d in (after, before)]
    if changed := before != after:
        table.add_column("before")
    for category, (name, earlier) in enumerate(zip(*columns, strict=True)):
        cells = [name, *([earlier if earlier != name else ""] if changed else [])]
        table.add_row(str(category), *(escape(shown(cell, progress.console.encoding)) for cell in cells))
    return table


def _show_where_to_look(model_dir: Path, progress: ConsoleProgress) -> None:
    from aae_toolkit.visualization.pictures import DIRECTORY, MODES

    picture = model_dir / DIRECTORY / MODES
    if picture.exists():
        progress.say(f"{picture} shows images of each category")
    else:
        draw = command("aae", "visualize", "--model", model_dir, "--data", "DATA")
        progress.say(f"{draw} draws {MODES}, which shows images of each category")
    progress.say(f"then name them: {command('aae', 'name-categories', '--model', model_dir)} NAME=CATEGORY ...")
