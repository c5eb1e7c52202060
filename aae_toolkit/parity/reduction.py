"""Reduced precision, kept only where it earns its place: the same accuracy, faster, and smaller, on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import Backend, Runnable, Tensors
from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.errors import AaeError, GateError, UsageError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import Format, Precision, contract_of
from aae_toolkit.export.formats import OPSET, SUFFIXES, metadata_of
from aae_toolkit.export.manifest import (
    WEIGHTS_FILE,
    ArtifactEntry,
    Manifest,
    ReductionGate,
    golden_file,
    read_manifest,
    reduced_file,
)
from aae_toolkit.export.reduced import write_reduced
from aae_toolkit.export.writer import CARD_FILE, load_exported
from aae_toolkit.files import atomic_path, sha256, write_text
from aae_toolkit.models.deployed import DeployedClassifier
from aae_toolkit.models.description import read_description
from aae_toolkit.parity.cases import reference_cases
from aae_toolkit.parity.comparison import Comparison, compare
from aae_toolkit.progress import Progress

_N_CALIBRATION = 512
_BATCH_SIZE = 256  # of the timed runs
_ROUNDS = 11
_SECONDS = 0.05  # a backend's turn in a round, at least
_MOST_ROUNDS_LOST = 2  # of 11: as few happen to a file that is no faster in 3 of 100 cases


def add_reduced(
    export_dir: Path,
    precision: Precision,
    data: DataDirectory,
    *,
    device: str = "cpu",
    force: bool = False,
    opset: int = OPSET,
    progress: Progress,
) -> Manifest:
    """Add the classifier at reduced precision to an export, if it passes; leave the export as it is where not.

    Ranges are calibrated on training images, accuracy is judged on the validation split, speed against the float32
    file in interleaved rounds on one thread.

    Args:
        export_dir: written by `aae export`, with ONNX.
        precision: `int8`, or `fp16` for GPUs.
        data: the model's.
        device: where it is judged.
        force: keep it though it does not pass.
        opset: of the file.
        progress: told of what was found.

    Raises:
        AaeError: a damaged export, or data of another shape or with other classes.
        DeviceError: the device did not run.
        GateError: it loses too much accuracy, or is not faster or not smaller.
        UsageError: the export has no ONNX classifier to compare with.
    """
    manifest, description = read_manifest(export_dir), read_description(export_dir)
    manifest.verify(export_dir)
    full = next((e for e in manifest.artifacts if e.file == f"classifier{SUFFIXES[Format.ONNX]}"), None)
    if full is None:
        raise UsageError(f"{precision} is judged against classifier.onnx, which {export_dir} lacks; add --format onnx")
    validation = data.load("validation")
    description.require_image_shape(validation.images.shape[1:])
    description.require_class_names(data.class_names)
    if len(validation) == 0:
        raise UsageError(f"{precision} is judged on validation images, of which {data.path} has none")
    path, golden_path = export_dir / reduced_file(precision), export_dir / golden_file(precision)
    contract = contract_of("classifier", description)
    metadata = metadata_of("classifier", contract, description, manifest.sha256[WEIGHTS_FILE])
    trained = load_exported(export_dir).deployed()["classifier"]
    assert isinstance(trained, DeployedClassifier)
    try:
        with atomic_path(golden_path) as golden, atomic_path(path) as written:
            facts = write_reduced(precision, trained, contract, written, metadata, _calibration_images(data), opset)
            entry = ArtifactEntry(
                file=path.name,
                artifact="classifier",
                format=Format.ONNX,
                precision=precision,
                contract=contract,
                size_bytes=written.stat().st_size,
                gate=_judge(export_dir, written, full, precision, validation, device, golden),
                **facts,
            )
            assert entry.gate is not None
            progress.say(f"{path.name}: {entry.gate.summary()}; {entry.size_bytes / full.size_bytes:.2f} of the size")
            if entry.gate.problems and not force:
                raise GateError(f"{path.name} refused: {'; '.join(entry.gate.problems)}; --force keeps it")
        others = tuple(e for e in manifest.artifacts if e.file != entry.file)
        checksums = manifest.sha256 | {p.name: sha256(p) for p in (path, golden_path)}
        manifest = manifest.model_copy(
            update={"artifacts": (*others, entry), "sha256": checksums, "parity": None, "accuracy": None}
        )
        manifest.save(export_dir)
        write_text(export_dir / CARD_FILE, model_card(description, manifest))
    except OSError as error:
        raise AaeError(f"{path} cannot be written: {error.strerror or error}") from error
    return manifest


def _judge(
    export_dir: Path,
    written: Path,
    full: ArtifactEntry,
    precision: Precision,
    validation: Split,
    device: str,
    golden: Path,
) -> ReductionGate:
    """Compare, time, and keep in `golden` what the file gives for the golden images."""
    reduced = OnnxRuntimeBackend(written, device=device, threads=1)
    float32 = OnnxRuntimeBackend(export_dir / full.file, device=device, threads=1)
    try:
        cases = reference_cases(export_dir, validation, "validation images", (_BATCH_SIZE,))
        runnable = Runnable("classifier", "onnxruntime", written.name, precision)
        comparison = compare(reduced, runnable, full.contract, cases)
        if not comparison.max_abs_diff:  # it did not even run
            raise GateError(f"{reduced_file(precision)} refused: {comparison.reason}")
        batch = np.resize(validation.images, (_BATCH_SIZE, *validation.images.shape[1:]))
        speedups = _time(float32, reduced, {"images": batch})
        with np.load(export_dir / golden_file(), allow_pickle=False) as vectors:
            outputs = reduced.run({"images": vectors["classifier.input.images"]})
        np.savez(golden, **{f"classifier.output.{k}": v for k, v in outputs.items()})  # type: ignore[arg-type]
    finally:
        reduced.close()
        float32.close()
    return ReductionGate(
        n=len(validation),
        agreement=comparison.label_agreement,
        accuracy_delta=comparison.accuracy_delta,
        drop_bound=comparison.paired.drop_bound if comparison.paired else None,
        speedup=float(np.median(speedups)),
        device=reduced.device,
        problems=tuple(_problems(comparison, speedups, written.stat().st_size, full.size_bytes)),
    )


def _calibration_images(data: DataDirectory) -> NDArray[np.uint8]:
    """Training images, with labels or without, drawn alike every time."""
    labeled, unlabeled = (data.load(name, mapped=True).images for name in ("train_labeled", "train_unlabeled"))
    chosen = np.random.default_rng(0).permutation(len(labeled) + len(unlabeled))[:_N_CALIBRATION]
    from_labeled = chosen < len(labeled)
    return np.concatenate([labeled[chosen[from_labeled]], unlabeled[chosen[~from_labeled] - len(labeled)]])


def _time(float32: Backend, reduced: Backend, feeds: Tensors) -> NDArray[np.float64]:
    """How much faster `reduced` was in each of the rounds, [rounds]; both had their turn in each."""

    def median(backend: Backend) -> float:
        samples: list[float] = []
        until = time.perf_counter() + _SECONDS
        while len(samples) < 2 or time.perf_counter() < until:
            before = time.perf_counter()
            backend.run(feeds)
            samples.append(time.perf_counter() - before)
        return float(np.median(samples[1:]))  # the first has the other's data in its caches

    rounds = [(median(float32), median(reduced)) for _ in range(_ROUNDS)]
    return np.array([slow / fast for slow, fast in rounds])


def _problems(comparison: Comparison, speedups: NDArray[np.float64], size_bytes: int, full_bytes: int) -> list[str]:
    found = [] if comparison else [comparison.reason]
    if int((speedups <= 1).sum()) > _MOST_ROUNDS_LOST:
        found.append(f"it is not faster here ({np.median(speedups):.2f} of float32's speed)")
    if size_bytes >= full_bytes:
        found.append(f"it is not smaller ({size_bytes} bytes of {full_bytes})")
    return found
