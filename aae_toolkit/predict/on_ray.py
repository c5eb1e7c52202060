"""Prediction on a Ray cluster: Ray Data over shards, one ONNX session per worker, no torch."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from aae_toolkit.data.preparation import InvertChoice
from aae_toolkit.errors import AaeError, DeviceError, UsageError
from aae_toolkit.files import sha256
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.image_files import BATCH_SIZE, Prediction, decoder_of, label_batch
from aae_toolkit.predict.parts import (
    begin_or_continue,
    count_attempt,
    count_notes,
    errors_of,
    finish,
    manifest_of,
    require_all,
    write_part,
)
from aae_toolkit.predict.shards import Shard, decode, plan_shards, read_sources
from aae_toolkit.progress import Progress

SHARD_SIZE = 10_000
_MAX_DEATHS = 5  # of workers on one shard before it is given up; Ray itself would retry for ever
_OBJECT_STORE_BYTES = 2**28  # for a Ray started here; images never pass through the object store


@dataclass(frozen=True)
class Cluster:
    """Ray cluster and the resources of each worker.

    Attributes:
        address: address of a running Ray; None starts one on this machine.
        num_cpus: CPUs per worker.
        num_gpus: GPUs per worker.
        concurrency: number of workers; None is as many as fit on the cluster now.
    """

    address: str | None = None
    num_cpus: int = 1
    num_gpus: float = 0
    concurrency: int | None = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        output: output directory.
        rows: number of rows in all parts.
        errors: number of rows without a label.
        parts: number of parts.
        parts_before: number of parts that were there before the run.
        notes: number of rows with each note.
    """

    output: str
    rows: int
    errors: int
    parts: int
    parts_before: int
    notes: dict[str, int]


@dataclass(frozen=True)
class Options:
    """Options of prediction, as in `predict`; `column` is the image column of Parquet input."""

    top_k: int = 0
    threshold: float = 0.0
    invert: InvertChoice = "as-trained"
    column: str = "image"


def predict_ray(
    model: Path,
    files: Iterable[Path],
    output: Path,
    progress: Progress,
    *,
    cluster: Cluster,
    options: Options,
    batch_size: int = BATCH_SIZE,
    shard_size: int = SHARD_SIZE,
) -> Outcome:
    """Label images into a directory of Parquet files, skipping parts that are there already.

    Args:
        model: `classifier.onnx`; sent to the workers.
        files: input files for `plan_shards`, at paths that every worker can read.
        output: output directory, which every worker can write.
        progress: listener for finished parts.
        cluster: cluster and resources of workers.
        options: options of prediction.
        batch_size: images per batch.
        shard_size: maximum number of images per part.

    Raises:
        AaeError: the model or an input file is absent or damaged, or a worker failed; finished parts stay.
        UsageError: `output` holds something else, not even one worker fits, or `invert` is not supported.
        DeviceError: no Ray answers at the address, or the GPU does not run.
    """
    with ClassifierFile(model) as classifier:
        decoder = decoder_of(classifier, options.invert)
    column = options.column
    shards = plan_shards(
        files, decoder.shape, shard_size=shard_size, column=column, border=decoder.border, progress=progress
    )
    if options.invert != "as-trained" and (
        npz := next((shard.names[0] for shard in shards if shard.kind == "npz"), None)
    ):
        raise UsageError(f"--invert is for image files; {npz} holds arrays of pixels")
    manifest = manifest_of(shards, sha256(model), asdict(options))
    done = begin_or_continue(output, manifest)
    todo = {p.file: s.to_json() for p, s in zip(manifest.parts, shards, strict=True) if p.file not in done}
    errors = sum(done.values())
    if todo:
        job = _Job(model.read_bytes(), output.absolute(), Path.cwd(), options, batch_size, cluster)
        errors += sum(progress.track(_run(job, todo, cluster), "parts", len(shards), len(done)))
    require_all(output, manifest)
    finish(output, manifest, errors)
    return Outcome(str(output), manifest.rows, errors, len(shards), len(done), count_notes(output, manifest))


@dataclass(frozen=True)
class _Job:
    """Data that every worker receives."""

    model: bytes
    output: Path
    root: Path  # base of relative paths
    options: Options
    batch_size: int
    cluster: Cluster


class _Worker:
    """Worker process: one session, which labels one shard after another."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._decoders = ThreadPoolExecutor(job.cluster.num_cpus)  # pillow decodes without Python's lock

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Label one shard (`batch` is one row) into its part; return the number of errors, or the failure."""
        try:
            errors = self._make(str(batch["file"][0]), Shard.from_json(batch["shard"][0]))
        except (AaeError, OSError) as error:
            return {"errors": [0], "failure": [str(error)], "on_device": [isinstance(error, DeviceError)]}
        return {"errors": [errors], "failure": [""], "on_device": [False]}

    def _make(self, file: str, shard: Shard) -> int:
        path = self._job.output / file
        errors = errors_of(path, shard.sha256)  # set if a worker died after it wrote the part
        if errors is None:
            if count_attempt(path) > _MAX_DEATHS:
                raise AaeError(f"{file} (from {shard.names[0]} on) ended {_MAX_DEATHS} workers")
            errors = write_part(path, shard.sha256, list(self._label(shard)))
        return errors

    @cached_property
    def _classifier(self) -> ClassifierFile:
        device = "cuda" if self._job.cluster.num_gpus else "cpu"  # Ray shows a worker only its own GPU
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(self._job.model)
            file.flush()
            return ClassifierFile(Path(file.name), device=device, threads=self._job.cluster.num_cpus)

    def _label(self, shard: Shard) -> Iterator[Prediction]:
        options = self._job.options
        decoder = decoder_of(self._classifier, options.invert)
        sources = read_sources(shard, self._job.root, options.column)
        while batch := list(islice(sources, self._job.batch_size)):
            decoded = list(self._decoders.map(decode, batch, repeat(decoder)))
            yield from label_batch(self._classifier, decoded, options.top_k, options.threshold)


def _run(job: _Job, todo: dict[str, str], cluster: Cluster) -> Iterator[int]:
    """Yield the number of errors of each part, as parts are finished."""
    with _ray(cluster.address):
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        size = _n_workers(cluster, ray.cluster_resources())
        rows = [{"file": file, "shard": shard} for file, shard in todo.items()]
        finished = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(rows))),
            fn_constructor_args=(job,),
            num_cpus=cluster.num_cpus,
            num_gpus=cluster.num_gpus,
        )
        advice = "finished parts stay; run the same command again to continue"
        try:
            for row in finished.iter_rows():
                if row["failure"]:
                    raise (DeviceError if row["on_device"] else AaeError)(
                        f"a worker failed: {row['failure']}; {advice}"
                    )
                yield row["errors"]
        except ray.exceptions.RayError as error:
            raise AaeError(f"Ray failed: {' '.join(str(error).split())[:200]}; {advice}") from error


def _n_workers(cluster: Cluster, resources: dict[str, float]) -> int:
    """Return the number of workers, given or as many as fit now; a running cluster may grow to make room."""
    room = int(resources.get("CPU", 0) // cluster.num_cpus)
    if cluster.num_gpus:
        room = min(room, int(resources.get("GPU", 0) // cluster.num_gpus))
    grows = cluster.address is not None and cluster.concurrency is not None
    if not room and not grows:
        available = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
        raise UsageError(
            f"no room for a worker of {cluster.num_cpus} CPUs and {cluster.num_gpus:g} GPUs: Ray has {available}"
        )
    return cluster.concurrency or room


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """Connect to Ray: that of this process, that at `address`, or a new one, which ends with the context."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    except Exception as error:  # Ray raises plain exceptions too
        raise DeviceError(f"no Ray at {address or 'this machine'}: {' '.join(str(error).split())[:200]}") from error
    try:
        yield
    finally:
        ray.shutdown()
