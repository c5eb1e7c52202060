"""The options of `aae predict --engine ray`, and what it prints. Like `cli.predict`, it starts without Typer."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from json import dumps

from aae_toolkit.errors import AaeError, UsageError


def add_options(parser: ArgumentParser, at_least: Callable[[int], Callable[[str], int]]) -> None:
    """Add what a cluster needs to the options of `aae predict`; `at_least(n)` is the type of an int of n or more."""
    add = parser.add_argument_group(
        "on a Ray cluster",
        "Labels image folders, .npz and .parquet files into --output, a directory of Parquet files. A rerun goes on"
        " where an earlier one ended.",
    ).add_argument
    add("--engine", choices=("local", "ray"), default="local", help="This process, or workers of a Ray cluster.")
    add("--address", help="Of a running cluster, or auto; default: one of this machine's own.")
    add("--num-cpus", type=at_least(1), help="CPUs of a worker; default: 1.")
    add("--num-gpus", type=_share, help="GPUs of a worker, such as 0.5; default: 0.")
    add("--concurrency", type=at_least(1), help="Workers; default: as many as there is room for.")
    add("--column", help="Of .parquet files, with encoded images or paths; default: image.")
    add("--shard-size", type=at_least(1), help="Most images in one file of output; default: 10000.")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def is_asked_for(given: Namespace) -> bool:
    """Whether Ray is to run.

    Raises:
        UsageError: options of the one engine are given to the other.
    """
    ray_only = "address", "num_cpus", "num_gpus", "concurrency", "column", "shard_size"
    strange = ray_only if given.engine == "local" else ("threads",)
    for name in strange:
        if getattr(given, name) is not None:
            mend = "needs --engine ray" if given.engine == "local" else "is not of --engine ray, which has --num-cpus"
            raise UsageError(f"--{name.replace('_', '-')} {mend}")
    return bool(given.engine == "ray")


def predict(given: Namespace) -> None:
    """Label images on Ray, and say what was written.

    Raises:
        AaeError: some images could not be read; their rows say why.
        UsageError: no `--output` is given.
    """
    if given.output is None:
        raise UsageError("--engine ray writes a directory of Parquet files; name it with --output")
    from dataclasses import asdict

    from aae_toolkit.cli.options import ConsoleProgress
    from aae_toolkit.data.paths import image_files
    from aae_toolkit.predict.on_ray import SHARD_SIZE, Cluster, Options, predict_ray
    from aae_toolkit.predict.shards import INPUT_SUFFIXES

    outcome = predict_ray(
        given.model,
        image_files(given.images, sys.stdin.buffer, INPUT_SUFFIXES),
        given.output,
        ConsoleProgress(stderr=True),
        cluster=Cluster(given.address, given.num_cpus or 1, given.num_gpus or 0, given.concurrency),
        options=Options(given.top_k, given.threshold, given.invert, given.column or "image"),
        batch_size=given.batch_size,
        shard_size=given.shard_size or SHARD_SIZE,
    )
    if given.json:
        print(dumps(asdict(outcome)))
    else:
        before = f", {outcome.parts_before} of them from before" if outcome.parts_before else ""
        print(f"{outcome.rows} images, {outcome.errors} unreadable, in {outcome.parts} parts{before}: {outcome.output}")
    if outcome.errors:
        raise AaeError(f"{outcome.errors} of {outcome.rows} images could not be read; their rows have an error")
