"""Settings of a training, printed for people: those that differ from the defaults, each with the reason for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.config import VariantConfig, changed_settings, dump_config, settings
from aae_toolkit.config.auto import Choice

_SECTIONS = {"learning_rates": "learning rates", "consistency": "losses on y"}


def show_settings(
    chosen: VariantConfig,
    config: VariantConfig,
    choices: Iterable[Choice],
    source: str,
    progress: ConsoleProgress,
    *,
    verbose: bool,
) -> None:
    """Print the settings that differ from the defaults, and with `verbose` all of them.

    Args:
        chosen: settings before flags.
        config: settings of the training.
        choices: choices of `auto`; none for a file.
        source: `auto`, the name of a shipped configuration, or a file.
        progress: listener, which prints nothing if it is quiet.
        verbose: print the whole configuration too.
    """
    if progress.quiet:
        return
    table = Table(title="settings that differ from the defaults", show_header=False, title_justify="left")
    for row in (*_chosen(chosen, config, choices, source), *_flags(chosen, config)):
        table.add_row(*map(Text, row))
    if table.row_count:
        progress.console.print(table)
    else:
        progress.say(f"settings: the defaults ({source})")
    if verbose:
        for line in dump_config(config).splitlines():
            progress.say(line)


def _chosen(
    chosen: VariantConfig, config: VariantConfig, choices: Iterable[Choice], source: str
) -> Iterator[tuple[str, str, str]]:
    """Yield topic, settings and reason of each choice, then of other settings by section; all but those of flags."""
    now = settings(config)
    left = {path: value for path, (value, _) in changed_settings(chosen).items() if now[path] == value}
    for choice in choices:
        topic, _, reason = choice.reason.partition(": ")
        paths = [f"{section}.{key}" for section, values in choice.settings.items() for key in values]
        own = {path: left.pop(path) for path in paths if path in left}
        yield topic, _listed(own), reason
    for section in dict.fromkeys(path.partition(".")[0] for path in left):
        own = {path: value for path, value in left.items() if path.partition(".")[0] == section}
        yield _SECTIONS.get(section, section), _listed(own), Path(source).name


def _flags(chosen: VariantConfig, config: VariantConfig) -> Iterator[tuple[str, str, str]]:
    """Yield the settings that flags changed, if there are any."""
    before = settings(chosen)
    given = {path: value for path, value in settings(config).items() if value != before[path]}
    if given:
        instead = _listed({path: before[path] for path in given if before[path] is not None})
        yield "flags", _listed(given), f"instead of {instead}" if instead else ""


def _listed(settings: dict[str, Any]) -> str:
    """Return settings, given by path, as `key value, key value`."""
    return ", ".join(f"{path.partition('.')[2]} {_plain(value)}" for path, value in settings.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
