"""Options that several commands share, and how they show progress and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from aae_toolkit.errors import AaeError
from aae_toolkit.html.rendering import command
from aae_toolkit.progress import lines_now_and_then
from aae_toolkit.text import shown

T = TypeVar("T")

_PLAIN_WIDTH = 120  # characters, for tables that go to a file or a pipe

DataDirOption = Annotated[Path, typer.Option("--dir-path", help="Data directory, written by init-datasets.")]
ModelDirOption = Annotated[Path, typer.Option("--model-dir-path", help="Model directory, written by train.")]
ExportDirOption = Annotated[Path, typer.Option("--export-dir-path", help="Export directory, written by export.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Load files that manifest.json has no checksum of; TorchScript and .pt2 can run code."
    ),
]
InvertOption = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option("--invert", help="Make dark light and light dark; auto: images whose border is light, not dark."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]


class ConsoleProgress:
    """Bars on a terminal, plain lines elsewhere; on standard error where standard output is for JSON."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Choose the stream."""
        from rich.console import Console

        self.console = Console(stderr=stderr, highlight=False, emoji=False)
        if not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH

    def say(self, line: str) -> None:
        """Print one line; brackets and colons in it are no markup, and names in it cannot move the cursor."""
        self.console.print(shown(line, self.console.encoding), markup=False, soft_wrap=True)

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items` under a bar that goes when it is full; off a terminal, a line now and then."""
        if not self.console.is_terminal:
            yield from lines_now_and_then(items, description, total, done, say=self.say)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield from bar.track(items, total=total, completed=done, description=description)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def require_writable(flag: str, path: Path | None) -> None:
    """Minutes of work must not end in a file that cannot be written; None: it is not asked for.

    Raises:
        AaeError: `path` is a directory, or no file can be made there.
    """
    if path is None:
        return
    existing = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if path.is_dir() or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise AaeError(f"{flag} {path} cannot be written: give a file in a directory that you may write to")


def command_line(context: typer.Context) -> str:
    """The command line, as far as it was given."""
    parts = context.command_path.split()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            parts += [parameter.opts[0], str(context.params[parameter.name or ""])]
    return command(*parts)
