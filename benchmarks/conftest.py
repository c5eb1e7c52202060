"""Fixtures: an export of a model of the seed's size, and the description of the machine in every benchmark."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from aae_toolkit import __version__
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.sources import Source
from aae_toolkit.export.contract import REDUCED, Format
from aae_toolkit.export.formats import DEFAULT_FORMATS
from aae_toolkit.export.writer import export_model
from aae_toolkit.machine.environment import can_compile, describe_environment
from aae_toolkit.models.description import Architecture, ModelDescription
from aae_toolkit.models.directory import save_model
from aae_toolkit.models.networks import Networks
from aae_toolkit.parity.reduction import add_reduced
from aae_toolkit.progress import Silent

ARCHITECTURE = Architecture(
    encoder="mlp",
    hidden_size=1000,
    conv_channels=(32, 64, 128),
    encoder_dropout=0.0,
    image_shape=(1, 28, 28),
    n_classes=10,
    z_size=2,
)


@pytest.fixture(scope="session")
def export_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export with random weights, including reduced precisions: training does not affect speed."""
    torch.manual_seed(0)
    networks = Networks(ARCHITECTURE, mode_decoder=False)
    description = ModelDescription(
        toolkit_version=__version__,
        variant="semi_supervised",
        architecture=ARCHITECTURE,
        class_names=tuple(map(str, range(10))),
        category_to_class=tuple(range(10)),
        category_to_class_from="identity",
    )
    model_dir, path = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("export")
    save_model(model_dir, networks, description)
    export_model(model_dir, path, tuple(Format) if can_compile() else DEFAULT_FORMATS, Silent())
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (600, 1, 28, 28), np.uint8), np.arange(600) % 10
    source = Source("folder", description.class_names, images, labels, None, None, 100, 300, 100)
    write_data_directory(path / "data", source, None, None, None, seed=0)
    for precision in REDUCED:
        add_reduced(path, precision, DataDirectory(path / "data"), force=True, progress=Silent())
    return path


@pytest.fixture
def facts(benchmark, request: pytest.FixtureRequest):
    """Benchmark with environment and a hash of its configuration in `extra_info`."""
    benchmark.extra_info |= describe_environment() | {"threads": torch.get_num_threads()}
    config = f"{ARCHITECTURE.model_dump_json()} {request.node.callspec.params}"
    benchmark.extra_info["config_hash"] = hashlib.sha256(config.encode()).hexdigest()[:12]
    return benchmark


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail if the saved run lacks a benchmark, which the comparison would ignore."""
    saved = session.config._benchmarksession.compared_mapping
    missing = [item.nodeid for item in session.items if not any(item.nodeid in run for run in saved.values())]
    if saved and missing:
        pytest.exit(
            f"{len(missing)} benchmarks are not in the saved run, {missing[0]} for one: make bench saves them",
            returncode=1,
        )
