"""`aae verify`: replay the checksums and golden vectors of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, JsonOption, QuietOption, TrustOption, print_json
from aae_toolkit.cli.showing import show_parity


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="Export directory, written by export.")],
    device: Annotated[str, typer.Option("--device", help="Device to run on: cpu, cuda or cuda:<index>.")] = "cpu",
    trust: TrustOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify an export from elsewhere.

    Verifies every checksum, then runs the weights and every file on the stored inputs and compares the outputs with the
    stored ones (golden vectors). Needs no data and writes nothing. Exit 3 if a file gives other outputs.
    """
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.models.classes import listed
    from aae_toolkit.parity.check import replay_golden

    progress = ConsoleProgress(stderr=json, quiet=quiet)
    opened = ExportDirectory.open(export, trust=trust)
    report, oldest = replay_golden(opened, device=device, progress=progress), opened.manifest.oldest_onnxruntime
    unlisted = opened.unlisted()
    if json:
        print_json(report.to_json() | {"oldest_onnxruntime": oldest, "unlisted": unlisted})
    else:
        show_parity(report, progress)
    report.require()
    checked = "every checksum holds" if not trust else "every checksum that is there holds"
    if unlisted:
        progress.say(f"{export}: not verified, since manifest.json does not list them: {listed(unlisted)}")
    progress.say(f"{export}: {checked}, and all {len(report.results)} replays give the golden vectors")
    if oldest:
        progress.say(f"its ONNX files run on ONNX Runtime {oldest} or newer")
