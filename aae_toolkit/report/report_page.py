"""Rendering of the report page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aae_toolkit import __version__
from aae_toolkit.config import CONFIG_FILE
from aae_toolkit.html import rendering
from aae_toolkit.html.rendering import command as line
from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.models.classes import listed, unknown_line
from aae_toolkit.report.contents import Contents, Sources
from aae_toolkit.report.scores import by_class, confusion, in_words, why_they_differ
from aae_toolkit.report.summary import about, limits
from aae_toolkit.visualization.many import MOST
from aae_toolkit.visualization.names import shorten


@dataclass(frozen=True)
class Commands:
    """Command lines that add parts of the report; words in capitals are placeholders."""

    train: str
    visualize: str
    evaluate: str
    export: str
    parity: str
    bench: str

    @classmethod
    def of(cls, sources: Sources, variant: str) -> Commands:
        """Build the command lines for a model, with the known directories."""
        model, data = sources.model_dir, sources.data_dir or "DATA"
        export = sources.export.path if sources.export else model / "export"
        on_model, on_export = ("--model", model), ("--export", export)
        return cls(
            train=line(
                *("aae", "train", variant.replace("_", "-"), "--data", data),
                *("--config", model / CONFIG_FILE, "--output", "NEW"),
            ),
            visualize=line("aae", "visualize", *on_model, "--data", data),
            evaluate=line("aae", "evaluate", *on_model, "--data", data, "--json"),
            export=line("aae", "export", *on_model, "--output", export),
            parity=line("aae", "parity", *on_export, "--data", data),
            bench=line("aae", "bench", *on_export, "--output", sources.bench or "BENCH.json"),
        )


def render(contents: Contents, command: str) -> str:
    """Render the page as HTML; `command` is the command line that made it, to show on it."""
    return rendering.render(
        "report/report_page.html",
        c=contents,
        d=contents.description,
        run=Commands.of(contents.sources, contents.description.variant),
        command=command,
        environment=rendering.facts(describe_environment() | {"aae_toolkit": __version__}),
        measured_on=rendering.facts(contents.benchmark.report.environment) if contents.benchmark else {},
        speed=contents.benchmark.speed if contents.benchmark else None,
        level=3,
        by_class=by_class,
        listed=listed,
        unknown_line=unknown_line,
        confusion=confusion,
        in_words=in_words,
        why_they_differ=why_they_differ,
        about=about(contents),
        limits=limits(contents),
        most=MOST,
        shorten=shorten,
    )


def write_report(path: Path, contents: Contents, command: str) -> str:
    """Write the page, whole or not at all; return a line with its path and size.

    Raises:
        AaeError: the page cannot be written.
    """
    text = render(contents, command)
    rendering.write_page(path, text)
    n_pictures = len(contents.curves.pictures) + len(contents.pictures.pictures)
    left_out = [name for name, _ in contents.curves.left_out + contents.pictures.left_out]
    without = f"; too large and left out: {', '.join(left_out)}" if left_out else ""
    return f"report written to {path}: {rendering.size(len(text.encode()))} with {n_pictures} pictures{without}"
