"""Gate of reduced precision: a file is kept only if it keeps its accuracy and is faster and smaller on this machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.protocol import Backend, Runnable
from aae_toolkit.backends.registry import open_backend
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError, GateError, UsageError
from aae_toolkit.export.contract import Format, Precision, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import OPSET, SUFFIXES
from aae_toolkit.export.golden import write_reduced_golden
from aae_toolkit.export.manifest import ArtifactEntry, ReductionGate, golden_file, reduced_file
from aae_toolkit.export.metadata import metadata_of
from aae_toolkit.export.reduced import write_reduced
from aae_toolkit.files import atomic_path, sha256
from aae_toolkit.models.classes import match_classes
from aae_toolkit.models.deployed import DeployedClassifier
from aae_toolkit.parity.cases import reference_cases
from aae_toolkit.parity.comparison import Comparison, compare
from aae_toolkit.progress import Progress

_N_CALIBRATION = 512
_BATCH_SIZE = 256  # images in a timed run
_ROUNDS = 11
_SECONDS = 0.05  # minimum duration of a backend's turn in a round
_MOST_ROUNDS_LOST = 2  # an equally fast file loses at most 2 of 11 rounds with a probability of 3%


def add_reduced(
    export: ExportDirectory,
    precision: Precision,
    data: DataDirectory,
    *,
    device: str = "cpu",
    force: bool = False,
    opset: int = OPSET,
    progress: Progress,
) -> ExportDirectory:
    """Add the classifier at reduced precision to an export if it passes its gate; else leave the export unchanged.

    Ranges are calibrated on training images. Accuracy is judged on the validation split, and speed by comparison with
    the float32 file in alternating rounds on one thread.

    Args:
        export: the opened export, with ONNX files.
        precision: `int8`, or `fp16` for GPUs.
        data: data directory of the model.
        device: device to judge the file on.
        force: keep the file even if it fails the gate.
        opset: ONNX operator set of the file.
        progress: receives a line with the result.

    Returns:
        The export with the new file.

    Raises:
        AaeError: the data has another image shape than the model, or none of its classes.
        DeviceError: the device did not run.
        GateError: the file loses too much accuracy, or is not faster or not smaller.
        UsageError: the export has no ONNX classifier to compare with, or the data no validation images.
    """
    full = export.entry(f"classifier{SUFFIXES[Format.ONNX]}")
    if full is None:
        raise UsageError(f"{precision} is judged against classifier.onnx, which {export.path} lacks; add --format onnx")
    validation = match_classes(export.description.class_names, data.class_names).relabel(data.load("validation"))
    export.description.require_image_shape(validation.images.shape[1:])
    if len(validation) == 0:
        raise UsageError(f"{precision} is judged on validation images, of which {data.path} has none")
    path, golden_path = export.path / reduced_file(precision), export.path / golden_file(precision)
    try:
        with atomic_path(golden_path) as golden, atomic_path(path) as written:
            facts = _write(export, precision, written, _calibration_images(data), opset)
            gate, outputs = _judge(export, written, full, precision, validation, device)
            write_reduced_golden(golden, outputs)
            entry = full.model_copy(
                update={"file": path.name, "precision": precision, "size_bytes": written.stat().st_size, "gate": gate}
            ).model_copy(update=facts)
            progress.say(f"{path.name}: {gate.summary()}; {entry.size_bytes / full.size_bytes:.2f} of the size")
            if gate.problems and not force:
                raise GateError(f"{path.name} refused: {'; '.join(gate.problems)}; --force keeps it")
        others = tuple(e for e in export.artifacts if e.file != entry.file)
        checksums = export.manifest.sha256 | {p.name: sha256(p) for p in (path, golden_path)}
        return export.recorded(artifacts=(*others, entry), sha256=checksums, parity=None, accuracy=None)
    except OSError as error:
        raise AaeError(f"{path} cannot be written: {error.strerror or error}") from error


def _write(
    export: ExportDirectory, precision: Precision, path: Path, calibration: NDArray[np.uint8], opset: int
) -> dict[str, Any]:
    """Write the file; return the opset and IR version read back from it."""
    contract = export.contract("classifier")
    metadata = metadata_of("classifier", contract, export.description, export.weights_sha256, precision)
    trained = export.module("classifier")
    assert isinstance(trained, DeployedClassifier)
    return write_reduced(precision, trained, contract, path, metadata, calibration, opset)


def _judge(
    export: ExportDirectory, written: Path, full: ArtifactEntry, precision: Precision, validation: Split, device: str
) -> tuple[ReductionGate, Tensors]:
    """Compare and time the written file; return the verdict and the outputs for the golden images."""
    runnable = Runnable("classifier", "onnxruntime", written.name, precision)
    with (
        open_backend(export, runnable, device=device, threads=1) as reduced,
        open_backend(export, replace(runnable, file=full.file), device=device, threads=1) as float32,
    ):
        cases = reference_cases(export, validation, "validation images", (_BATCH_SIZE,))
        comparison = compare(reduced, runnable, full.contract, cases)
        if not comparison.max_abs_diff:  # the file did not run
            raise GateError(f"{reduced_file(precision)} refused: {comparison.reason}")
        batch = np.resize(validation.images, (_BATCH_SIZE, *validation.images.shape[1:]))
        speedups = _time(float32, reduced, {"images": batch})
        outputs = reduced.run(export.golden.inputs["classifier"])
        gate = ReductionGate(
            n=len(validation),
            agreement=comparison.label_agreement,
            accuracy_delta=comparison.accuracy_delta,
            drop_bound=comparison.paired.drop_bound if comparison.paired else None,
            speedup=float(np.median(speedups)),
            device=reduced.device,
            problems=tuple(_problems(comparison, speedups, written.stat().st_size, full.size_bytes)),
        )
    return gate, outputs


def _calibration_images(data: DataDirectory) -> NDArray[np.uint8]:
    """Draw training images, labelled and unlabelled, with a fixed seed: uint8 [N, C, H, W]."""
    labeled, unlabeled = (data.load(name, mapped=True).images for name in ("train_labeled", "train_unlabeled"))
    chosen = np.random.default_rng(0).permutation(len(labeled) + len(unlabeled))[:_N_CALIBRATION]
    from_labeled = chosen < len(labeled)
    return np.concatenate([labeled[chosen[from_labeled]], unlabeled[chosen[~from_labeled] - len(labeled)]])


def _time(float32: Backend, reduced: Backend, feeds: Tensors) -> NDArray[np.float64]:
    """Time both backends in alternating turns; return the speed-up of `reduced` in each round, [rounds]."""

    def median(backend: Backend) -> float:
        samples: list[float] = []
        until = time.perf_counter() + _SECONDS
        while len(samples) < 2 or time.perf_counter() < until:
            before = time.perf_counter()
            backend.run(feeds)
            samples.append(time.perf_counter() - before)
        return float(np.median(samples[1:]))  # the first runs with cold caches

    rounds = [(median(float32), median(reduced)) for _ in range(_ROUNDS)]
    return np.array([slow / fast for slow, fast in rounds])


def _problems(comparison: Comparison, speedups: NDArray[np.float64], size_bytes: int, full_bytes: int) -> list[str]:
    problems = [] if comparison else [comparison.reason]
    if int((speedups <= 1).sum()) > _MOST_ROUNDS_LOST:
        problems.append(f"it is not faster here ({np.median(speedups):.2f} of float32's speed)")
    if size_bytes >= full_bytes:
        problems.append(f"it is not smaller ({size_bytes} bytes of {full_bytes})")
    return problems
