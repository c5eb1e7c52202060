"""`aae report`: a model's whole story on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption, command_line, require_writable
from aae_toolkit.errors import UsageError

_SUFFIXES = (".html", ".htm")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    context: typer.Context,
    model_dir_path: ModelDirOption,
    output: Annotated[Path, typer.Option(help="The page; replaced where it is there.")],
    export_dir_path: Annotated[
        Path | None, typer.Option(help="An export of the model; default: <model>/export, where there is one.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="What bench --output wrote of that export.")] = None,
    dir_path: Annotated[
        Path | None, typer.Option(help="Data directory: scores the model, and draws it where there are no pictures.")
    ] = None,
    split: Annotated[
        Literal["validation", "test"], typer.Option(help="test: score that too; it is not read otherwise.")
    ] = "validation",
) -> None:
    """Tell a model's whole story on one page.

    How it was trained, learning curves, pictures, scores, parity, speed, environment and checksums, in one HTML file
    that loads nothing from elsewhere. What is absent is said, with the command that adds it.
    """
    from aae_toolkit.report.contents import Sources, gather
    from aae_toolkit.report.evidence import open_export
    from aae_toolkit.report.report_page import write_report

    progress = ConsoleProgress()
    if output.suffix.lower() not in _SUFFIXES:  # which keeps a slip from replacing a model's own files
        raise UsageError(f"--output {output} is no name of a page; give one such as report.html")
    require_writable("--output", output)
    export = open_export(model_dir_path, export_dir_path)
    contents = gather(Sources(model_dir_path, export, bench, dir_path, split), progress)
    progress.say(write_report(output, contents, command_line(context)))
