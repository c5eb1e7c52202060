"""`aae tune semi-supervised` and `aae tune unsupervised`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from aae_toolkit.cli.options import (
    ConsoleProgress,
    DataDirOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    configuration_names,
    print_json,
    require_one,
    require_writable,
)
from aae_toolkit.cli.settings import show_settings
from aae_toolkit.config import TrainingPrecision, Variant, dump_config, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import write_json, write_text
from aae_toolkit.html.rendering import command
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.tuning.result import Tuning

_Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="auto|NAME|FILE",
        help="Settings to start from: chosen for the data (auto), those of a shipped configuration, or those of a YAML"
        " file.",
        autocompletion=configuration_names,
    ),
]
_Minutes = Annotated[float, typer.Option("--minutes", min=0.001, metavar="MINUTES", help="Time for the whole search.")]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Configuration file to write; default: tuned.yaml in the directory of the search.",
    ),
]
_Study = Annotated[
    Path | None,
    typer.Option(
        "--study",
        metavar="DIR",
        help="Directory of the search, which continues an earlier one there; default: tune_semi_supervised or"
        " tune_unsupervised in the data directory.",
    ),
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Random seed for training; default: the configuration's.")]
_Precision = Annotated[
    TrainingPrecision | None,
    typer.Option("--precision", help="Number format of matrix products; default: the configuration's."),
]

_VARIANT_HELP: dict[Variant, str] = {
    "semi_supervised": "Tune a training with few labels.\n\nCompares settings by their accuracy on validation images"
    " or, if those are few, in cross-validation on the labelled images.",
    "unsupervised": "Tune a training without labels.\n\nCompares settings by the accuracy of the categories on"
    " validation images or, without labels there, by the agreement of neighbouring images.",
}


def register(app: typer.Typer) -> None:
    """Add the group and its two commands."""
    group = typer.Typer(no_args_is_help=True, help="Search for better settings, within a time limit.")
    for variant, help_text in _VARIANT_HELP.items():
        group.command(variant.replace("_", "-"), help=help_text)(_command(variant))
    app.add_typer(group, name="tune")


def _command(variant: Variant) -> Callable[..., None]:
    """Return the command of one variant; both take the same flags."""

    def tune(
        dir_path: DataDirOption,
        config_path: _Config = AUTO,
        minutes: _Minutes = 30.0,
        output_path: _Output = None,
        study_path: _Study = None,
        seed: _Seed = None,
        device: DeviceOption = "auto",
        precision: _Precision = None,
        json: JsonOption = False,
        quiet: QuietOption = False,
        verbose: VerboseOption = False,
    ) -> None:
        if not math.isfinite(minutes):
            raise UsageError(f"--minutes {minutes} is no length of time; give a number of minutes, such as 30")
        require_one(quiet=quiet, verbose=verbose)
        deadline = time.monotonic() + 60 * minutes
        if config_path != AUTO:
            load_config(config_path, variant)  # refused before the data is read
        directory = study_path or dir_path / f"tune_{variant}"
        output = output_path or directory / "tuned.yaml"
        _refuse_other_file(output, config_path, variant)
        progress = ConsoleProgress(stderr=json, quiet=quiet)
        from aae_toolkit.data.directory import DataDirectory
        from aae_toolkit.training.choosing import configuration_for
        from aae_toolkit.training.stop import Stopped
        from aae_toolkit.tuning.study import best_config
        from aae_toolkit.tuning.study import tune as search
        from aae_toolkit.visualization.canvas import save, style
        from aae_toolkit.visualization.search import FILE_NAME, draw_search

        data = DataDirectory(dir_path)
        chosen, choices = configuration_for(data, config_path, variant)
        config = with_flags(chosen, seed=seed, precision=precision)
        show_settings(chosen, config, choices, config_path, progress, verbose=verbose)
        tuning = search(config, data, directory, deadline=deadline, device=device, progress=progress)
        write_text(output, dump_config(best_config(config, data, tuning)))
        write_json(directory / "trials.json", tuning.to_json())
        with style():
            save(draw_search(tuning), directory / FILE_NAME)
        if json:
            print_json(tuning.to_json())
        else:
            _show(tuning, progress)
        progress.say(f"configuration written to {output}, trials and picture to {directory}")
        name = variant.replace("_", "-")
        progress.say(f"next: {command('aae', 'train', name, '--data', dir_path, '--config', output)}")
        if tuning.signum:
            raise Stopped(tuning.signum, f"after {len(tuning.trials)} trials", "run the command again to continue")

    return tune


def _refuse_other_file(output: Path, config_path: str, variant: Variant) -> None:
    """Raise `UsageError` if the output would replace the base configuration, or a file that is no configuration."""
    require_writable("--output", output)
    if not output.exists():
        return
    if Path(config_path).exists() and output.samefile(config_path):
        raise UsageError(f"--output {output} is the base configuration itself; give another file")
    try:
        load_config(output, variant)
    except AaeError as error:
        raise UsageError(f"--output {output} exists and is no configuration of this variant; give another") from error


def _show(tuning: Tuning, progress: ConsoleProgress) -> None:
    """Print the base configuration beside the best trial."""
    table = Table(title=f"{tuning.objective}, {len(tuning.trials)} trials")
    table.add_column("")
    both = (tuning.base, tuning.best)
    for heading, trial in zip(("base", "best"), both, strict=True):
        table.add_column(f"{heading} (trial {trial.number})", justify="right")
    table.add_row("score", *(percent(trial.score) for trial in both))
    table.add_row("standard error", *(percent(tuning.standard_error(trial)) for trial in both))
    table.add_row("scored images", *(str(tuning.n) for _ in both))
    table.add_section()
    for dimension in tuning.dimensions:
        table.add_row(dimension.name, *(f"{trial.values[dimension.path]:g}" for trial in both))
    progress.console.print(table)
    progress.result(tuning.verdict)
