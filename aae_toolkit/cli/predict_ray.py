"""Options and output of `aae predict --engine ray`; like `cli.predict`, without Typer."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from json import dumps

from aae_toolkit.errors import AaeError, UsageError


def add_options(parser: ArgumentParser, at_least: Callable[[int], Callable[[str], int]]) -> None:
    """Add the options for a cluster; `at_least(n)` is the type of an integer of at least n."""
    add = parser.add_argument_group(
        "on a Ray cluster",
        "Labels image folders, .npz and .parquet files into --output, a directory of Parquet files. A rerun"
        " continues where an earlier one stopped.",
    ).add_argument
    add(
        "--engine", choices=("local", "ray"), default="local", help="Engine: this process, or workers of a Ray cluster."
    )
    add("--address", help="Address of a running cluster, or auto; default: start one on this machine.")
    add("--num-cpus", type=at_least(1), help="CPUs per worker; default: 1.")
    add("--num-gpus", type=_share, help="GPUs per worker, such as 0.5; default: 0.")
    add("--concurrency", type=at_least(1), help="Number of workers; default: as many as fit.")
    add("--column", help="Column of .parquet files with encoded images or paths; default: image.")
    add("--shard-size", type=at_least(1), help="Maximum number of images per output file; default: 10000.")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def is_asked_for(given: Namespace) -> bool:
    """Whether `--engine ray` is given.

    Raises:
        UsageError: an option of the other engine is given.
    """
    ray_only = "address", "num_cpus", "num_gpus", "concurrency", "column", "shard_size"
    foreign = ray_only if given.engine == "local" else ("threads",)
    for name in foreign:
        if getattr(given, name) is not None:
            advice = "needs --engine ray" if given.engine == "local" else "is for --engine local; use --num-cpus"
            raise UsageError(f"--{name.replace('_', '-')} {advice}")
    return bool(given.engine == "ray")


def predict(given: Namespace) -> None:
    """Label images on Ray, and print a summary.

    Raises:
        AaeError: some images cannot be read; their rows hold the reason.
        UsageError: no `--output` is given.
    """
    if given.output is None:
        raise UsageError("--engine ray writes a directory of Parquet files; name it with --output")
    from dataclasses import asdict

    from aae_toolkit.cli.options import ConsoleProgress
    from aae_toolkit.data.left_out import LeftOut
    from aae_toolkit.data.paths import image_files
    from aae_toolkit.predict.classifier_file import find_classifier
    from aae_toolkit.predict.on_ray import SHARD_SIZE, Cluster, Options, predict_ray
    from aae_toolkit.predict.shards import INPUT_SUFFIXES

    progress = ConsoleProgress(stderr=True, quiet=given.quiet)
    left_out = LeftOut(progress.result)
    links = given.follow_links
    outcome = predict_ray(
        find_classifier(given.model),
        image_files(given.images, sys.stdin.buffer, INPUT_SUFFIXES, left_out=left_out, follow_links=links),
        given.output,
        progress,
        cluster=Cluster(given.address, given.num_cpus or 1, given.num_gpus or 0, given.concurrency),
        options=Options(given.top_k, given.threshold, given.invert, given.column or "image"),
        batch_size=given.batch_size,
        shard_size=given.shard_size or SHARD_SIZE,
    )
    if given.json:
        print(dumps(asdict(outcome)))
    else:
        before = f", {outcome.parts_before} of them from an earlier run" if outcome.parts_before else ""
        print(f"{outcome.rows} images, {outcome.errors} unreadable, in {outcome.parts} parts{before}: {outcome.output}")
    for note, n in outcome.notes.items():
        progress.say(f"{n} of {outcome.rows} images: {note}")
    left_out.finish()
    if left_out.n_failed:
        raise AaeError(f"{left_out.n_failed + outcome.errors} images could not be read, and are named above or in rows")
    if outcome.errors:
        raise AaeError(f"{outcome.errors} of {outcome.rows} images could not be read; their rows have an error")
