"""`aae web`: write a static page that runs the classifier in the browser."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, QuietOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("web")(web)


def web(
    export: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="Export directory with ONNX files, written by aae export.")
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory to write; an earlier page there is replaced.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Data directory; up to 16 of its validation images go on the page, to try."
        ),
    ] = None,
    web_runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Package file or folder of onnxruntime-web; default: download it once, with npm."
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Write a page that runs the classifier in the browser.

    Writes a static page for any web server, with the classifier and decoder of the export. The page loads nothing from
    other servers. Images of --data are published with it.
    """
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.web.runtime import runtime_files
    from aae_toolkit.web.samples import sample_images
    from aae_toolkit.web.web_page import require_place, write_page

    progress = ConsoleProgress(quiet=quiet)
    require_place(directory)
    opened = ExportDirectory.open(export)
    samples = None if data is None else sample_images(opened, DataDirectory(data))
    if samples is None:
        progress.say("the page has no sample images; --data DATA puts some validation images on it")
    sizes = write_page(opened, directory, runtime_files(web_runtime), samples)
    progress.say(f"page of {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB, written to {directory}; to see it:")
    progress.say(f"python -m http.server --directory {shlex.quote(str(directory))}")
