"""Options that several commands share, and how they show progress and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from aae_toolkit.progress import lines_now_and_then

T = TypeVar("T")

_PLAIN_WIDTH = 120  # characters, for tables that go to a file or a pipe

DataDirOption = Annotated[Path, typer.Option("--dir-path", help="Data directory, written by init-datasets.")]
ModelDirOption = Annotated[Path, typer.Option("--model-dir-path", help="Model directory, written by train.")]
ExportDirOption = Annotated[Path, typer.Option("--export-dir-path", help="Export directory, written by export.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]


class ConsoleProgress:
    """Bars on a terminal, plain lines elsewhere; on standard error where standard output is for JSON."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Choose the stream."""
        from rich.console import Console

        self.console = Console(stderr=stderr, highlight=False)
        if not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH

    def say(self, line: str) -> None:
        """Print a line; brackets in it are not markup."""
        self.console.print(line, markup=False, soft_wrap=True)

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


def percent(fraction: float | None) -> str:
    """A fraction as people read it."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"
