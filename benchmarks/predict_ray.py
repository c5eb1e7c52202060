"""Comparison of `aae predict --engine ray` with one process and one thread, on the same PNG files.

    python benchmarks/predict_ray.py --model classifier.onnx --raw-dir data [--rounds 3] [--output F.json]

One process, one Ray worker and one worker a core take turns, so that what else the machine does weighs on all. Ray is
started once. Rates are of the parts after each worker's first; what comes before, starting workers above all, stands by
itself. CPU time is of all processes, Ray's own among them, and says more than rates where the cores have other work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cpu_time import cpu_seconds
from PIL import Image

from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.predict import predict
from aae_toolkit.predict.on_ray import Cluster, Options, predict_ray
from aae_toolkit.progress import Silent

ALONE = "one process"


class Times(Silent):
    """Times at which parts were finished: seconds since the start, and CPU seconds."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.parts: list[tuple[float, float]] = []

    def track(self, items: Iterable[Any], description: str, total: int, done: int = 0) -> Iterator[Any]:
        for item in items:
            self.parts.append((time.perf_counter() - self._began, cpu_seconds(os.getpid())))
            yield item


def write_images(raw_dir: Path, n: int, folder: Path) -> list[Path]:
    """Write MNIST's first training images as PNG files."""
    content = (raw_dir / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[:n]
    paths = [folder / f"{index:05}.png" for index in range(n)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def ray_round(model: Path, paths: list[Path], workers: int, shard_size: int) -> tuple[float, float, float]:
    """Images/s and CPU seconds an image after the first part of each worker; seconds that starting workers took."""
    times = Times()
    with tempfile.TemporaryDirectory() as output:
        outcome = predict_ray(
            model,
            paths,
            Path(output) / "labels",
            times,
            cluster=Cluster(concurrency=workers),
            options=Options(),
            shard_size=shard_size,
        )
    assert (outcome.rows, outcome.errors) == (len(paths), 0)
    (first, cpu_first), (last, cpu_last) = times.parts[workers - 1], times.parts[-1]
    n = (len(times.parts) - workers) * shard_size
    rate = n / (last - first)
    return rate, (cpu_last - cpu_first) / n, first - workers * shard_size / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds MNIST/raw")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's own is 15: beside other work its workers would stand back. It reads the name as it stands here.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    import ray

    began = time.perf_counter()
    ray.init("local", include_dashboard=False, object_store_memory=2**28, log_to_driver=False)
    ray_seconds = time.perf_counter() - began
    cores = int(ray.cluster_resources()["CPU"])
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(options.raw_dir, options.images, Path(folder))
        for _ in range(options.rounds):
            began, cpu_began = time.perf_counter(), time.process_time()
            assert sum(p.error is None for p in predict(options.model, paths, threads=1)) == len(paths)
            rates[ALONE].append(len(paths) / (time.perf_counter() - began))
            cpu[ALONE].append((time.process_time() - cpu_began) / len(paths))
            for workers in sorted({1, cores}):
                rate, cpu_of_image, start = ray_round(options.model, paths, workers, options.shard_size)
                rates[f"Ray, {workers} worker(s)"].append(rate)
                cpu[f"Ray, {workers} worker(s)"].append(cpu_of_image)
                starts.append(start)
    ray.shutdown()
    results = {}
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[ALONE], strict=True))
        cpu_ratio = statistics.median(a / b for a, b in zip(cpu[name], cpu[ALONE], strict=True))
        results[name] = {"images_per_second": found, "cpu_seconds_an_image": cpu[name]}
        print(f"{name:14} {statistics.median(found):7.0f} images/s, {ratio:.2f}x; ", end="")
        print(f"{1e6 * statistics.median(cpu[name]):5.0f} CPU us an image, {cpu_ratio:.2f}x")
    print(f"Ray starts in {ray_seconds:.1f} s, workers in {statistics.median(starts):.1f} s ({len(starts)} times)")
    if options.output:
        content = {"environment": describe_environment(), "results": results}
        content |= {"ray_seconds": ray_seconds, "worker_seconds": starts}
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
