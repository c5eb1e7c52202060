"""Options and output that several commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from aae_toolkit.cli.names import SEED_COMMANDS
from aae_toolkit.config import shipped_configs
from aae_toolkit.config.auto import AUTO
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.html.rendering import command
from aae_toolkit.progress import periodic_lines
from aae_toolkit.text import shown

T = TypeVar("T")

_PLAIN_WIDTH = 120  # characters, of tables in files and pipes

DataDirOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Data directory, written by aae init-datasets.")
]
ModelDirOption = Annotated[Path, typer.Option("--model", metavar="DIR", help="Model directory, written by aae train.")]
ExportDirOption = Annotated[
    Path, typer.Option("--export", metavar="DIR", help="Export directory, written by aae export.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object, and nothing else, on standard output.")
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Also load files that manifest.json has no checksum for. TorchScript and .pt2 files can run code: trust"
        " their source.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Also print all settings.")]


def device_option(what: str, *values: str, further: str = "", section: str | None = None) -> Any:
    """Return the option --device.

    Args:
        what: what runs there, which begins the help.
        values: values to complete, in order; without any, `auto` and those of a machine.
        further: end of the help.
        section: section of the help; None is the usual one.
    """
    values = values or ("auto", "cpu", "cuda")
    first = "auto (a GPU if there is one), " if "auto" in values else ""
    return typer.Option(
        "--device",
        metavar="DEVICE",
        rich_help_panel=section,
        help=f"{what}: {first}cpu, cuda or cuda:N{further}.",
        autocompletion=lambda: list(values),
    )


DeviceOption = Annotated[str, device_option("Device to run on")]
RunDeviceOption = Annotated[str, device_option("Device to run on", "cpu", "cuda")]


class ConsoleProgress:
    """Listener that shows bars on a terminal and plain lines elsewhere."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        """Write to standard output.

        Args:
            stderr: write to standard error, where standard output is for JSON.
            quiet: show results only, without progress.
        """
        from rich.console import Console

        self.quiet = quiet
        self.console = Console(stderr=stderr, highlight=False, emoji=False)
        self._estimate = ""
        if not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH

    def say(self, line: str) -> None:
        """Print one line about the progress, unless quiet."""
        if not self.quiet:
            self.result(line)

    def result(self, line: str) -> None:
        """Print one line without interpreting markup; unprintable characters are escaped."""
        self.console.print(shown(line, self.console.encoding), markup=False, soft_wrap=True)

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items` under a bar, removed at the end; without a terminal, print a line now and then."""
        if self.quiet:
            yield from items
            return
        if not self.console.is_terminal:
            yield from periodic_lines(items, description, total, done, say=self.say, beside=lambda: self._estimate)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[left]}"), console=self.console, transient=True) as bar:
            task = bar.add_task(description, total=total, completed=done, left=self._estimate)
            for item in items:
                yield item
                bar.update(task, advance=1, left=self._estimate)

    def estimate(self, text: str) -> None:
        """Show a text beside the bars and in the plain lines from now on."""
        self._estimate = text


def configuration_names(incomplete: str) -> list[str]:
    """Return the values of --config that begin so, but for files."""
    return [name for name in (AUTO, *shipped_configs()) if name.startswith(incomplete)]


def require_one(*, quiet: bool, verbose: bool) -> None:
    """Raise `UsageError` if both --quiet and --verbose are given."""
    if quiet and verbose:
        raise UsageError("--quiet prints less, --verbose more; give one of them")


def print_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def require_writable(flag: str, path: Path | None) -> None:
    """Check before minutes of work that `path` can be written; None checks nothing.

    Args:
        flag: the flag that gives the path, for the message.
        path: file to be written.

    Raises:
        AaeError: `path` is a directory, or its directory is not writable.
    """
    if path is None:
        return
    existing = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if path.is_dir() or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise AaeError(f"{flag} {path} cannot be written: give a file in a directory that you may write to")


def is_seed_command(context: typer.Context) -> bool:
    """Whether the command runs as one of the seed document's scripts, which print its lines."""
    return context.find_root().info_name in SEED_COMMANDS


def command_line(context: typer.Context) -> str:
    """Return the command line with the options that were given."""
    parts = context.command_path.split()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            parts += [parameter.opts[0], str(context.params[parameter.name or ""])]
    return command(*parts)
