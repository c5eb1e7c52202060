"""`aae predict`: labels for image files, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aae_toolkit.cli import predict_ray as on_ray
from aae_toolkit.cli.options import ConsoleProgress, percent, print_json
from aae_toolkit.errors import AaeError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    model: Annotated[Path, typer.Option(help="classifier.onnx, written by export.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    output: Annotated[Path | None, typer.Option(help="With --engine ray: the directory to write.")] = None,
    engine: on_ray.EngineOption = on_ray.Engine.LOCAL,
    address: on_ray.AddressOption = None,
    num_cpus: on_ray.NumCpusOption = 1,
    num_gpus: on_ray.NumGpusOption = 0,
    concurrency: on_ray.ConcurrencyOption = None,
    column: on_ray.ColumnOption = "image",
    shard_size: on_ray.ShardSizeOption = 10_000,
) -> None:
    """Label image files.

    Needs no torch: an exported classifier runs on ONNX Runtime. Exit 1 where a file could not be read.
    """
    if on_ray.is_asked_for(engine, address, concurrency):
        cluster = address, num_cpus, num_gpus, concurrency
        on_ray.predict(model, images, output, cluster, column, shard_size, json=json)
        return
    from aae_toolkit.predict import predict as predict_files

    progress = ConsoleProgress()
    failed = 0
    for prediction in predict_files(model, images):
        failed += prediction.error is not None
        if json:
            print_json(prediction.to_json())
        elif prediction.error is None:
            progress.say(f"{prediction.path}  {prediction.class_name}  {percent(prediction.probability)}")
        else:
            progress.say(f"{prediction.path}  could not be read: {prediction.error}")
    if failed:
        raise AaeError(f"{failed} of {len(images)} images could not be read")
