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
    print_json,
    require_writable,
)
from aae_toolkit.config import TrainingPrecision, Variant, dump_config, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import write_json, write_text
from aae_toolkit.html.rendering import command
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.tuning.result import Tuning

_Config = Annotated[
    str, typer.Option("--config", help="Base configuration: auto, a YAML file, or the name of a shipped one.")
]
_Minutes = Annotated[float, typer.Option("--minutes", min=0.001, help="Time for the whole search.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Configuration file to write; default: tuned.yaml in the study's directory."),
]
_Study = Annotated[
    Path | None,
    typer.Option("--study", help="Directory of the study, continued if it is there; default: <data>/tune_<variant>."),
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Random seed; default: the configuration's.")]
_Precision = Annotated[
    TrainingPrecision | None,
    typer.Option("--precision", help="Arithmetic of matrix products; default: the configuration's."),
]

_VARIANT_HELP: dict[Variant, str] = {
    "semi_supervised": "Tune by accuracy on validation images, or on the labelled images in folds if those are few.",
    "unsupervised": "Tune by accuracy of the categories on validation images, or by their agreement without labels.",
}


def register(app: typer.Typer) -> None:
    """Add the group and its two commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Search for settings that suit the data, starting from a configuration."
    )
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
    ) -> None:
        if not math.isfinite(minutes):
            raise UsageError(f"--minutes {minutes} is no length of time; give a number of minutes, such as 30")
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
        config = with_flags(configuration_for(data, config_path, variant, progress), seed=seed, precision=precision)
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
