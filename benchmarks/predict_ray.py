"""What Ray costs and gives: `aae predict --engine ray` beside one process with one thread, on the same PNG files.

    python benchmarks/predict_ray.py --model classifier.onnx --raw-dir data [--rounds 3] [--output F.json]

One process, one Ray worker and one worker a core take turns, so that what else the machine does weighs on all. Ray is
started once. Rates are those of parts after the first; what comes before, starting workers above all, stands by itself.
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
from PIL import Image

from aae_toolkit.environment import describe_environment
from aae_toolkit.predict import predict
from aae_toolkit.predict_ray import Cluster, Options, predict_ray
from aae_toolkit.progress import Silent


class Times(Silent):
    """When each part was finished, in seconds since this was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.parts: list[float] = []

    def track(self, items: Iterable[Any], description: str, total: int, done: int = 0) -> Iterator[Any]:
        for item in items:
            self.parts.append(time.perf_counter() - self._began)
            yield item


def write_images(raw_dir: Path, n: int, folder: Path) -> list[Path]:
    """MNIST's first training images as PNG files."""
    content = (raw_dir / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)[:n]
    paths = [folder / f"{index:05}.png" for index in range(n)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def ray_round(model: Path, paths: list[Path], workers: int, shard_size: int) -> tuple[float, float]:
    """Images/s after the first part of each worker, and the seconds until then that labelling does not explain."""
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
    first, last = times.parts[workers - 1], times.parts[-1]
    rate = (len(times.parts) - workers) * shard_size / (last - first)
    return rate, first - workers * shard_size / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds MNIST/raw")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    began = time.perf_counter()
    ray.init("local", include_dashboard=False, object_store_memory=2**28, log_to_driver=False)
    ray_seconds = time.perf_counter() - began
    cores = int(ray.cluster_resources()["CPU"])
    rates: dict[str, list[float]] = defaultdict(list)
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(options.raw_dir, options.images, Path(folder))
        for _ in range(options.rounds):
            began = time.perf_counter()
            assert sum(p.error is None for p in predict(options.model, paths, threads=1)) == len(paths)
            rates["one process, one thread"].append(len(paths) / (time.perf_counter() - began))
            for workers in sorted({1, cores}):
                rate, start = ray_round(options.model, paths, workers, options.shard_size)
                rates[f"Ray, {workers} worker(s)"].append(rate)
                starts.append(start)
    ray.shutdown()
    base = rates["one process, one thread"]
    results = {}
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(found, base, strict=True)]
        results[name] = {"images_per_second": found, "over_one_process": ratios}
        print(f"{name:24} {statistics.median(found):8.0f} images/s  {statistics.median(ratios):.2f}x")
    print(f"Ray starts in {ray_seconds:.1f} s, workers in {statistics.median(starts):.1f} s ({len(starts)} times)")
    if options.output:
        content = {"environment": describe_environment(), "results": results}
        content |= {"ray_seconds": ray_seconds, "worker_seconds": starts}
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
