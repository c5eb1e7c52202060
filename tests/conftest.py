"""Shared fixtures: a tiny data set, and models trained on it, as small as they can be and still be real."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # on tensors as small as these, threads cost more than they give
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # likewise: each pool of compilers imports torch anew

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import Builds
from hypothesis import settings

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, Variant
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.sources import Source, load_source
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Format
from aae_toolkit.export.formats import DEFAULT_FORMATS
from aae_toolkit.export.writer import export_model
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.web.runtime import runtime_files

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 2**30:  # else on a disk, where each file is flushed
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # where pytest makes its temporary directories

REPOSITORY = Path(__file__).parent.parent
LONGEST = ("test_distributed", "test_predict_ray", "test_kill", "test_faults", "test_mnist", "test_trainer")  # files
MNIST_RAW_DIR = Path(os.environ.get("AAE_MNIST_RAW_DIR", REPOSITORY.parent / "shared" / "mnist"))

needs_mnist = pytest.mark.skipif(
    not (MNIST_RAW_DIR / "MNIST" / "raw").is_dir(),
    reason=f"real MNIST is not at {MNIST_RAW_DIR}; set AAE_MNIST_RAW_DIR to the directory that holds MNIST/raw",
)

settings.register_profile("untimed", deadline=None)  # machines stall now and then
settings.load_profile("untimed")

MODEL_EPOCHS = 40  # of the shared model, enough to learn the tiny task
TINY_MODEL = {"hidden_size": 16, "z_size": 2}
TINY_TRAINING = {"n_epochs": 2, "batch_size": 16, "precision": "fp32"}


def tiny_source(n: int = 240, *, channels: int = 1, size: int = 6, n_classes: int = 3, seed: int = 0) -> Source:
    """Noisy images whose class is the row that is bright; learned within an epoch or two."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % n_classes
    images = rng.integers(0, 60, (n, channels, size, size), dtype=np.uint8)
    images[np.arange(n), :, labels * size // n_classes] += 180
    return Source(
        name="folder",
        class_names=tuple(f"row_{c}" for c in range(n_classes)),
        images=images,
        labels=labels,
        test_images=None,
        test_labels=None,
        default_labeled=30,
        default_validation=60,
        default_test=60,
    )


def tiny_config(
    variant: Variant, *, consistency: dict[str, Any] | None = None, **training: object
) -> SemiSupervisedConfig | UnsupervisedConfig:
    """The smallest configuration of a variant; further keyword arguments go to its training section."""
    content: dict[str, Any] = {"model": dict(TINY_MODEL), "training": TINY_TRAINING | training}
    content["consistency"] = consistency or {}
    if variant == "semi_supervised":
        return SemiSupervisedConfig.model_validate(content)
    content["model"]["n_classes"] = 4
    return UnsupervisedConfig.model_validate(content)


@pytest.hookimpl(trylast=True)  # after pytest's own order, by variant over all files
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process works alone at the end; a file at once, which shares its fixtures."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.stem, len(rank)), item.path))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """SIGINT interrupts, also where the tests were started in the background of a shell that ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """pytest's own; tests of faults have theirs on a disk, where files are flushed."""
    if request.path.parent.name != "faults":
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory)


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """What this run has built."""
    return Builds(tmp_path_factory)


@pytest.fixture(scope="session")
def data_dir(builds: Builds) -> Path:
    """A data directory of 3 classes of 1 x 6 x 6 images: 30 labelled, 90 unlabelled, 60 validation, 60 test."""
    return builds.get("data", lambda path: write_data_directory(path, tiny_source(), None, None, None, seed=0))


@pytest.fixture(scope="session", params=["semi_supervised", "unsupervised"])
def variant(request: pytest.FixtureRequest) -> Variant:
    """Both variants in turn."""
    return request.param


@pytest.fixture(scope="session")
def model_dir(variant: Variant, data_dir: Path, builds: Builds) -> Path:
    """A trained model directory. Do not write into it: copy it first."""
    config = tiny_config(variant, n_epochs=MODEL_EPOCHS)
    return builds.get(variant, lambda path: train(config, DataDirectory(data_dir), path, device="cpu"))


@pytest.fixture(scope="session")
def export_dir(variant: Variant, model_dir: Path, builds: Builds) -> Path:
    """An export of that model, in every format. Do not write into it: copy it first."""
    return builds.get(f"{variant}-export", lambda path: export_model(model_dir, path, DEFAULT_FORMATS, Silent()))


@pytest.fixture(scope="session")
def mnist_test() -> Source:
    """14000 of real MNIST's images to split, and the first 1000 of its test set."""
    whole = load_source("mnist", MNIST_RAW_DIR, MNIST_RAW_DIR / "unused", (1, 28, 28))
    assert whole.test_images is not None
    assert whole.test_labels is not None
    test = {"test_images": whole.test_images[:1000], "test_labels": whole.test_labels[:1000]}
    return dataclasses.replace(whole, images=whole.images[:14000], labels=whole.labels[:14000], **test)


@pytest.fixture(scope="session")
def mnist_export(mnist_test: Source, builds: Builds) -> Path:
    """ONNX files of a small model of real MNIST, right on about nineteen of twenty images."""
    content = {
        "model": {"hidden_size": 128, "z_size": 2},
        "training": {"n_epochs": 6, "batch_size": 100, "precision": "fp32"},
    }
    config = SemiSupervisedConfig.model_validate(content)

    def build(path: Path) -> None:
        write_data_directory(path / "data", mnist_test, 1000, 1000, None, seed=0)
        train(config, DataDirectory(path / "data"), path / "model", device="cpu")
        export_model(path / "model", path / "export", (Format.ONNX,), Silent())

    return builds.get("mnist", build) / "export"


@pytest.fixture(scope="session")
def web_runtime() -> dict[str, bytes]:
    """onnxruntime-web's files, from the user's cache or npm; skips where neither has them."""
    try:
        return runtime_files()
    except AaeError as error:
        pytest.skip(f"no onnxruntime-web here: {error}")
