"""Run of a benchmark: starts a process for each backend, and times them in turns."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from aae_toolkit.backends.protocol import BackendName
from aae_toolkit.backends.registry import require_device_name, runnables
from aae_toolkit.bench.baseline import Baseline, Key
from aae_toolkit.bench.expected import golden_by_precision
from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.bench.scenarios import Cell, plan
from aae_toolkit.bench.session import Effort, Io, Job, Opened, Session
from aae_toolkit.bench.worker import Worker
from aae_toolkit.errors import UsageError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import IMAGE_FILE
from aae_toolkit.machine.environment import describe_environment, usable_cores
from aae_toolkit.progress import Progress

P99_MS = 10.0
_DEFAULT_EFFORT = Effort()


def bench(
    export: ExportDirectory,
    batch_sizes: tuple[int, ...],
    threads: tuple[int, ...],
    backends: tuple[BackendName, ...],
    *,
    device: str = "cpu",
    ios: tuple[Io, ...] = ("end-to-end",),
    server_rates: tuple[float, ...] = (),
    p99_ms: float = P99_MS,
    effort: Effort = _DEFAULT_EFFORT,
    baseline: Baseline | None = None,
    progress: Progress,
) -> BenchReport:
    """Measure the classifier of an export.

    Args:
        export: the opened export.
        batch_sizes: images per run.
        threads: numbers of threads within one operator.
        backends: backends to measure; those without a file in the export are left out.
        device: device to run on.
        ios: input modes: from host to host, or with inputs and outputs on the device.
        server_rates: rates of the server scenario in queries per second, one cell each.
        p99_ms: limit of the 99th percentile latency in the server scenario, in ms.
        effort: duration and number of runs.
        baseline: earlier report, checked for comparability before anything is measured.
        progress: receives a step for each cell.

    Raises:
        AaeError: a file cannot be loaded, a process died, or the baseline is of another machine.
        DeviceError: another device ran than was requested.
        ParityError: a timed run gave outputs that differ from the golden ones.
        UsageError: none of the backends can run this export.
    """
    require_device_name(device)
    if export.entry(IMAGE_FILE) is not None:
        progress.say(f"{IMAGE_FILE} is left out: its time depends on the size of the images")
    wanted = [r for r in runnables(export, "classifier", device) if r.backend in backends]
    if not wanted:
        raise UsageError(
            f"{export.path} has no file for {', '.join(backends)}; export those formats, or ask for others"
        )
    threads, cells = tuple(dict.fromkeys(threads)), plan(batch_sizes, ios, server_rates)
    settings = {"cells": [asdict(c) for c in cells], "p99_ms": p99_ms, "device": device, "effort": asdict(effort)}
    environment = _environment(device, threads, settings | {"backends": backends}, export)
    if baseline is not None:
        planned = [Key.of_cell(runnable, n, cell) for runnable in wanted for n in threads for cell in cells]
        baseline.require_comparable(environment, planned)
    golden = golden_by_precision(export, {runnable.precision for runnable in wanted})
    if max(threads) > usable_cores():
        progress.say(
            f"warning: --threads {max(threads)}, but this process may use {usable_cores()} cores: they compete"
        )
    jobs = {n: [Job(export, r, device, n, golden[r.precision]) for r in wanted] for n in threads}
    return BenchReport(environment, _measure_all(jobs, cells, p99_ms, effort, progress))


def _measure_all(
    jobs: dict[int, list[Job]], cells: list[Cell], p99_ms: float, effort: Effort, progress: Progress
) -> list[Measurement]:
    """Measure every cell for each number of threads; processes are kept over the cells of one number of threads."""
    results: list[Measurement] = []
    with ExitStack() as running:
        contestants: list[_Contestant] = []
        steps = [(n, cell) for n in jobs for cell in cells]
        for n, cell in progress.track(steps, "bench", len(steps)):
            if not contestants or contestants[0].job.threads != n:
                running.close()
                contestants = [_start(job, running) for job in jobs[n]]
            results += _measure(contestants, cell, p99_ms, effort)
    return results


def _environment(
    device: str, threads: tuple[int, ...], settings: dict[str, Any], export: ExportDirectory
) -> dict[str, Any]:
    """Describe the machine, with a hash of the settings and files, and the checksum of the model."""
    environment: dict[str, Any] = describe_environment()
    if device.startswith("cuda"):
        import torch

        from aae_toolkit.machine.device import resolve_device

        name = torch.cuda.get_device_name(resolve_device(device))
        environment |= {"gpu": name, "cuda": torch.version.cuda}
    content = json.dumps(settings | {"threads": threads, "sha256": export.manifest.sha256}, sort_keys=True)
    environment |= {"threads": list(threads), "config_hash": hashlib.sha256(content.encode()).hexdigest()[:12]}
    return environment | {"weights_sha256": export.weights_sha256}


@dataclass
class _Contestant:
    """Backend that is ready in its process."""

    worker: Worker
    job: Job
    opened: Opened
    first_run_ms: float | None = None


def _start(job: Job, running: ExitStack) -> _Contestant:
    worker = running.enter_context(Worker(job))
    return _Contestant(worker, job, worker.call(Session.start))


def _measure(contestants: list[_Contestant], cell: Cell, p99_ms: float, effort: Effort) -> list[Measurement]:
    """Warm up every backend, then time them in turns, so drift of the machine's speed affects all of them equally."""
    turns = [(contestant, _warm_up(contestant, cell, p99_ms, effort)) for contestant in contestants]
    for i in range(effort.rounds):
        for contestant, measurement in turns if i % 2 == 0 else reversed(turns):  # alternate the order
            if cell.rate is None:
                samples = contestant.worker.call(Session.time, effort)
                measurement.add_round(samples, sum(samples) / 1000)
            else:
                served = contestant.worker.call(Session.serve, cell.rate, effort.queries, seed=i)
                measurement.add_round(served.latencies_ms, served.seconds)
    for contestant, measurement in turns:
        measurement.peak_rss_mib = contestant.worker.call(Session.peak_rss_mib)
        measurement.summarize()
    measurements = [measurement for _, measurement in turns]
    eager = next((m for m in measurements if m.is_reference), None)
    if eager is not None and cell.rate is None:  # latency of a query depends mostly on its queue
        for measurement in measurements:
            measurement.compare_with(eager)
    return measurements


def _warm_up(contestant: _Contestant, cell: Cell, p99_ms: float, effort: Effort) -> Measurement:
    job, opened, worker = contestant.job, contestant.opened, contestant.worker
    if cell.rate is None:
        first_run_ms = worker.call(Session.prepare, cell.io, cell.batch_size)
    else:
        first_run_ms = worker.call(Session.prepare_queries)
    if contestant.first_run_ms is None:
        contestant.first_run_ms = first_run_ms
    return Measurement(
        job.runnable.backend,
        job.runnable.file,
        job.runnable.precision,
        opened.device,
        cell.batch_size,
        job.threads,
        cell.scenario,
        cell.io,
        cell.rate,
        p99_bound_ms=None if cell.rate is None else p99_ms,
        stable=worker.call(Session.warm_up, effort),
        import_seconds=opened.import_seconds,
        load_seconds=opened.load_seconds,
        first_run_ms=contestant.first_run_ms,
        file_bytes=(job.export.path / job.runnable.file).stat().st_size,
    )
