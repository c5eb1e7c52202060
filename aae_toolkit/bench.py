"""Throughput and latency of the classifier on every backend.

Backends are warmed up, then timed in interleaved rounds, so that a machine whose speed drifts treats them alike. Raw
latencies are kept and percentiles derived from them. Before anything is timed its outputs are compared with eager's.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aae_toolkit.backends.base import Backend, BackendName, Tensors, open_backend, runnables
from aae_toolkit.comparison import TOLERANCE
from aae_toolkit.environment import describe_environment
from aae_toolkit.errors import AaeError, ParityError, UsageError
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.export.writer import WEIGHTS_FILE
from aae_toolkit.models.description import read_description
from aae_toolkit.progress import Progress

PERCENTILES = (50, 90, 95, 99)
_MIN_WARM_UP = 3  # iterations


@dataclass(frozen=True)
class Effort:
    """How long to measure: each backend gets `rounds` turns of at least `seconds` and at least `iterations`."""

    rounds: int = 3
    seconds: float = 0.2
    iterations: int = 3


@dataclass
class Measurement:
    """One backend at one batch size and thread count; `samples_ms` are the raw latencies of single runs."""

    backend: BackendName
    artifact: str
    precision: str
    device: str
    batch_size: int
    threads: int
    images_per_second: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    speedup_over_eager: float | None = None
    samples_ms: list[float] = field(default_factory=list)

    def summarize(self) -> None:
        """Derive throughput and percentiles from the samples."""
        self.images_per_second = self.batch_size * len(self.samples_ms) / (sum(self.samples_ms) / 1000)
        points = np.percentile(self.samples_ms, PERCENTILES)
        self.latency_ms = {f"p{p}": float(v) for p, v in zip(PERCENTILES, points, strict=True)}


@dataclass
class BenchReport:
    """All measurements, and where they were taken."""

    environment: dict[str, object]
    results: list[Measurement]

    def to_json(self) -> dict[str, Any]:
        """The object that `aae bench` writes."""
        return asdict(self)


def bench(
    export_dir: Path,
    batch_sizes: tuple[int, ...],
    threads: tuple[int, ...],
    backends: tuple[BackendName, ...],
    *,
    device: str = "cpu",
    effort: Effort = Effort(),
    progress: Progress,
) -> BenchReport:
    """Measure the classifier of an export directory.

    Args:
        export_dir: written by `aae export`; its checksums are verified first.
        batch_sizes: images a run.
        threads: within one operator.
        backends: which to measure; those that the export has no file for are left out.
        device: where they run.
        effort: how long to measure.
        progress: told of each cell.

    Raises:
        AaeError: a missing, damaged or unloadable file.
        DeviceError: another device ran than was asked for.
        ParityError: a backend gives other outputs than eager.
        UsageError: none of the backends can be run on this export.
    """
    import torch

    manifest = read_manifest(export_dir)
    manifest.verify(export_dir)
    shape = read_description(export_dir).architecture.image_shape
    offered = runnables(manifest, "classifier", WEIGHTS_FILE)
    wanted = [r for r in offered if r.backend in backends]
    if not wanted:
        raise UsageError(f"{export_dir} has no file for {', '.join(backends)}; export those formats, or ask for others")
    threads_before = torch.get_num_threads()
    results: list[Measurement] = []
    cells = [(t, b) for t in threads for b in batch_sizes]
    opened: list[Backend] = []
    opened_for = None
    judge = open_backend(export_dir, offered[0])  # eager, whether it is timed or not
    try:
        for n_threads, batch_size in progress.track(cells, "bench", len(cells)):
            if opened_for != n_threads:
                _close(opened)
                opened += [open_backend(export_dir, r, device=device, threads=n_threads) for r in wanted]
                opened_for = n_threads
            images = np.random.default_rng(0).integers(0, 256, (batch_size, *shape), dtype=np.uint8)
            results += _measure(opened, {"images": images}, batch_size, n_threads, effort, judge)
    finally:
        _close([*opened, judge])
        torch.set_num_threads(threads_before)
    environment = describe_environment()
    if device.startswith("cuda"):
        environment |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return BenchReport(environment, results)


def _close(opened: list[Backend]) -> None:
    while opened:
        opened.pop().close()


def _measure(
    opened: list[Backend], feeds: Tensors, batch_size: int, threads: int, effort: Effort, judge: Backend
) -> list[Measurement]:
    """Time every backend on one input, in interleaved rounds, once its outputs are found to be eager's."""
    measurements = [Measurement(b.name, b.artifact, "fp32", b.device, batch_size, threads) for b in opened]
    reference = judge.run(feeds)
    for backend in opened:
        _warm_up(backend, feeds, reference, batch_size)
    for _ in range(effort.rounds):
        for backend, measurement in zip(opened, measurements, strict=True):
            measurement.samples_ms += _time(backend, feeds, effort)
    for measurement in measurements:
        measurement.summarize()
    eager = next((m for m in measurements if m.backend == "eager"), None)
    if eager is not None:
        for measurement in measurements:
            measurement.speedup_over_eager = eager.latency_ms["p50"] / measurement.latency_ms["p50"]
    return measurements


def _warm_up(backend: Backend, feeds: Tensors, reference: Tensors, batch_size: int) -> None:
    """Run untimed, and refuse what does not run or gives other probabilities than the reference."""
    try:
        for _ in range(_MIN_WARM_UP):
            outputs = backend.run(feeds)
    except Exception as error:  # every runtime has its own
        reason = " ".join(str(error).split())[:200]
        raise AaeError(f"{backend.name} cannot run {backend.artifact} at batch size {batch_size}: {reason}") from error
    found, wanted = outputs.get("probabilities"), reference["probabilities"]
    if found is None or found.shape != wanted.shape:
        raise ParityError(f"{backend.name} gives no probabilities of shape {wanted.shape}; not timed: see aae parity")
    difference = float(np.abs(found - wanted).max())
    if not difference <= TOLERANCE:
        raise ParityError(
            f"{backend.name} gives probabilities that differ by {difference:.3g} from eager's"
            f" (allowed {TOLERANCE:g}); not timed: see aae parity"
        )


def _time(backend: Backend, feeds: Tensors, effort: Effort) -> list[float]:
    """Latencies of single runs, ms, for at least the effort's seconds and iterations."""
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < effort.iterations or time.perf_counter() - started < effort.seconds:
        before = time.perf_counter()
        backend.run(feeds)  # returns host arrays, so the device has finished
        samples.append((time.perf_counter() - before) * 1000)
    return samples


def parse_sizes(flag: str, text: str) -> tuple[int, ...]:
    """A comma-separated list of positive whole numbers.

    Raises:
        UsageError: anything else.
    """
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f"{flag} {text!r}: give positive whole numbers, separated by commas")
    return sizes
