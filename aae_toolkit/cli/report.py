"""`aae report`: everything about a model on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, ModelDirOption, QuietOption, command_line, require_writable
from aae_toolkit.errors import UsageError

_SUFFIXES = (".html", ".htm")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    context: typer.Context,
    model_dir_path: ModelDirOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write; an existing one is replaced.")],
    export_dir_path: Annotated[
        Path | None, typer.Option("--export", help="Export of the model; default: <model>/export, if there is one.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="Benchmark results of that export, from bench --output.")] = None,
    dir_path: Annotated[
        Path | None, typer.Option("--data", help="Data directory, to score the model and draw missing pictures.")
    ] = None,
    split: Annotated[
        Literal["validation", "test"],
        typer.Option(help="Images to score; test scores the test set too, which is not read otherwise."),
    ] = "validation",
    quiet: QuietOption = False,
) -> None:
    """Summarize a model on one page.

    Shows settings, learning curves, pictures, scores, parity, speed, environment and checksums, in one self-contained
    HTML file. Lists missing parts with the command that adds each.
    """
    from aae_toolkit.report.contents import Sources, gather
    from aae_toolkit.report.evidence import open_export
    from aae_toolkit.report.report_page import write_report

    progress = ConsoleProgress(quiet=quiet)
    if output.suffix.lower() not in _SUFFIXES:  # a typo must not replace a file of the model
        raise UsageError(f"--output {output} is not a page; give a name such as report.html")
    require_writable("--output", output)
    export = open_export(model_dir_path, export_dir_path)
    contents = gather(Sources(model_dir_path, export, bench, dir_path, split), progress)
    progress.say(write_report(output, contents, command_line(context)))
