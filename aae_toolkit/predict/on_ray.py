"""Labels for more images than one machine holds: Ray Data over shards, an ONNX session a worker. No torch here."""

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

from aae_toolkit.data.images import Invert
from aae_toolkit.errors import AaeError, DeviceError, UsageError
from aae_toolkit.files import sha256
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.image_files import BATCH_SIZE, Prediction, decoder_of, label_batch
from aae_toolkit.predict.parts import (
    begin_or_continue,
    count_attempt,
    errors_of,
    finish,
    manifest_of,
    require_all,
    write_part,
)
from aae_toolkit.predict.shards import Shard, decode, plan_shards, read_sources
from aae_toolkit.progress import Progress

SHARD_SIZE = 10_000
_MAX_DEATHS = 5  # of workers over one shard, after which the shard is at fault; Ray itself would go on for ever
_OBJECT_STORE_BYTES = 2**28  # of a Ray of our own: images never pass through it


@dataclass(frozen=True)
class Cluster:
    """Where to run: the address of a running Ray (None starts one here), and what each worker gets.

    `concurrency` is the number of workers; None is as many as the cluster has room for now.
    """

    address: str | None = None
    num_cpus: int = 1
    num_gpus: float = 0
    concurrency: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run left: rows in all parts, those of them without a label, and parts that were there before it."""

    output: str
    rows: int
    errors: int
    parts: int
    parts_before: int


@dataclass(frozen=True)
class Options:
    """What a row holds, as in `predict`, and where Parquet files have their images."""

    top_k: int = 0
    threshold: float = 0.0
    invert: Invert = "no"
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
    """Label images into a directory of Parquet files; where some of its parts are there, only the others are made.

    Args:
        model: `classifier.onnx`; it travels to the workers.
        files: as `plan_shards` takes them, at paths that every worker sees.
        output: a directory that every worker sees.
        progress: hears of every finished part.
        cluster: where to run.
        options: what rows hold.
        batch_size: images that the model labels at once.
        shard_size: most images a part.

    Raises:
        AaeError: no such model or file, or a worker failed; what is finished stays.
        UsageError: `output` holds something else, there is no room for a single worker, or `invert` cannot be done.
        DeviceError: no Ray answers at the address, or the GPU does not run.
    """
    with ClassifierFile(model) as classifier:
        decoder = decoder_of(classifier, options.invert)
    shards = plan_shards(files, decoder.shape, shard_size=shard_size, column=options.column)
    if options.invert != "no" and (npz := next((shard.names[0] for shard in shards if shard.kind == "npz"), None)):
        raise UsageError(f"--invert is for image files; {npz} holds pixels as the model takes them")
    manifest = manifest_of(shards, sha256(model), asdict(options))
    done = begin_or_continue(output, manifest)
    todo = {p.file: s.to_json() for p, s in zip(manifest.parts, shards, strict=True) if p.file not in done}
    errors = sum(done.values())
    if todo:
        job = _Job(model.read_bytes(), output.absolute(), Path.cwd(), options, batch_size, cluster)
        errors += sum(progress.track(_run(job, todo, cluster), "parts", len(shards), len(done)))
    require_all(output, manifest)
    finish(output, manifest, errors)
    return Outcome(str(output), manifest.rows, errors, len(shards), len(done))


@dataclass(frozen=True)
class _Job:
    """What every worker is told."""

    model: bytes
    output: Path
    root: Path  # where relative paths begin
    options: Options
    batch_size: int
    cluster: Cluster


class _Worker:
    """One process: a session, and shards that come one after the other."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._decoders = ThreadPoolExecutor(job.cluster.num_cpus)  # pillow decodes without the interpreter's lock

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Label one shard (`batch` is one row) into its part; what went wrong is an answer too."""
        try:
            errors = self._make(str(batch["file"][0]), Shard.from_json(batch["shard"][0]))
        except (AaeError, OSError) as error:
            return {"errors": [0], "failure": [str(error)], "on_device": [isinstance(error, DeviceError)]}
        return {"errors": [errors], "failure": [""], "on_device": [False]}

    def _make(self, file: str, shard: Shard) -> int:
        path = self._job.output / file
        errors = errors_of(path, shard.sha256)  # by a worker that died before it could say so
        if errors is None:
            if count_attempt(path) > _MAX_DEATHS:
                raise AaeError(f"{file} (from {shard.names[0]} on) ended {_MAX_DEATHS} workers")
            errors = write_part(path, shard.sha256, list(self._label(shard)))
        return errors

    @cached_property
    def _classifier(self) -> ClassifierFile:
        device = "cuda" if self._job.cluster.num_gpus else "cpu"  # Ray shows a worker only the GPU that it was given
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
    """How many rows of each part are errors, as parts are finished."""
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
        mend = "what is finished stays, and the same command goes on"
        try:
            for row in finished.iter_rows():
                if row["failure"]:
                    raise (DeviceError if row["on_device"] else AaeError)(f"a worker failed: {row['failure']}; {mend}")
                yield row["errors"]
        except ray.exceptions.RayError as error:
            raise AaeError(f"Ray failed: {' '.join(str(error).split())[:200]}; {mend}") from error


def _n_workers(cluster: Cluster, resources: dict[str, float]) -> int:
    """How many are asked for, or else there is room for now; a cluster that grows is trusted to make room."""
    room = int(resources.get("CPU", 0) // cluster.num_cpus)
    if cluster.num_gpus:
        room = min(room, int(resources.get("GPU", 0) // cluster.num_gpus))
    grows = cluster.address is not None and cluster.concurrency is not None
    if not room and not grows:
        found = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
        raise UsageError(
            f"no room for a worker of {cluster.num_cpus} CPUs and {cluster.num_gpus:g} GPUs: Ray has {found}"
        )
    return cluster.concurrency or room


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """A Ray to run in: the one this process is in already, the one at `address`, or one of our own that ends here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
    except Exception as error:  # it raises that itself
        raise DeviceError(f"no Ray at {address or 'this machine'}: {' '.join(str(error).split())[:200]}") from error
    try:
        yield
    finally:
        ray.shutdown()
