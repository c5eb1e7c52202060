"""`aae doctor`: devices, providers and packages of this machine."""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress, JsonOption, print_json
from aae_toolkit.errors import AaeError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(json: JsonOption = False) -> None:
    """Check what this machine can run.

    Tries each device and each execution provider of ONNX Runtime, and lists versions of packages and conflicts between
    them. Exit status 1 if there is a problem.
    """
    from aae_toolkit.machine.doctor import diagnose

    diagnosis = diagnose()
    if json:
        print_json(diagnosis.to_json())
    else:
        progress = ConsoleProgress()
        table = Table(show_header=False)
        for key, value in diagnosis.environment.items():
            if isinstance(value, dict):
                for package, version in value.items():
                    table.add_row(package, version)
            else:
                table.add_row(key, escape(str(value)))
        table.add_section()
        for device, finding in diagnosis.torch_devices.items():
            table.add_row(f"torch {device}", escape(finding))
        for provider, finding in diagnosis.onnxruntime_providers.items():
            table.add_row(provider, escape(finding))
        progress.console.print(table)
        progress.say("no problem found" if not diagnosis.problems else f"{len(diagnosis.problems)} problems found")
    if diagnosis.problems:
        raise AaeError("; ".join(diagnosis.problems))
