"""The options of `aae predict --engine ray`, and what it prints."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, print_json
from aae_toolkit.errors import AaeError, UsageError


class Engine(StrEnum):
    """What `aae predict` runs on."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[Engine, typer.Option(help="This process, or the workers of a Ray cluster.")]
AddressOption = Annotated[
    str | None, typer.Option(help="Ray: a running cluster's address, or auto. [default: one of this machine's own]")
]
NumCpusOption = Annotated[int, typer.Option(help="Ray: CPUs of each worker.")]
NumGpusOption = Annotated[float, typer.Option(help="Ray: GPUs of each worker; 0.5 shares one between two.")]
ConcurrencyOption = Annotated[int | None, typer.Option(help="Ray: workers. [default: as many as there is room for]")]
ColumnOption = Annotated[str, typer.Option(help="Ray: the column of Parquet inputs with encoded images, or paths.")]
ShardSizeOption = Annotated[int, typer.Option(help="Ray: most images in one file of output.")]


def is_asked_for(engine: Engine, address: str | None, concurrency: int | None) -> bool:
    """Whether Ray is to run.

    Raises:
        UsageError: a cluster is described, and not asked for.
    """
    if engine is Engine.LOCAL and (address, concurrency) != (None, None):
        raise UsageError("--address and --concurrency are of a Ray cluster; add --engine ray")
    return engine is Engine.RAY


def predict(
    model: Path,
    inputs: list[Path],
    output: Path | None,
    cluster: tuple[str | None, int, float, int | None],
    column: str,
    shard_size: int,
    *,
    json: bool,
) -> None:
    """Label folders of images, npz and Parquet files on Ray, and say what was written.

    Raises:
        AaeError: some images could not be read; their rows say why.
        UsageError: no `output` is given.
    """
    from aae_toolkit.predict_ray import Cluster, predict_ray

    if output is None:
        raise UsageError("--engine ray writes a directory of Parquet files; name it with --output")
    progress = ConsoleProgress(stderr=json)
    outcome = predict_ray(
        model, inputs, output, progress, cluster=Cluster(*cluster), column=column, shard_size=shard_size
    )
    if json:
        print_json(asdict(outcome))
    else:
        before = f", {outcome.parts_before} of them from before" if outcome.parts_before else ""
        progress.say(f"{outcome.rows} rows in {outcome.parts} parts{before}: {outcome.output}")
    if outcome.errors:
        raise AaeError(f"{outcome.errors} of {outcome.rows} images could not be read; their rows have an error")
