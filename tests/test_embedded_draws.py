"""Draws that share embeddings are the data directories of `aae init-datasets`, but for the choice of views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import REPOSITORY, tiny_source
from numpy.typing import NDArray
from scripts import imported

from aae_toolkit.backbones.description import BackboneDescription
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import SPLITS

BENCHMARKS = REPOSITORY / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the source distribution is without benchmarks")
SIZES = {"labeled": 6, "validation": 9, "test": 9, "seed": 3, "n_views": 2}


class Averages:
    """An embedder without a network: the mean of each channel and, of a view, how far it is from the image."""

    weights = b"none"
    description = BackboneDescription(
        name="timm:none",
        sha256="0" * 64,
        licence="none",
        input_size=(6, 6),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bilinear",
        embedding_size=4,
    )

    def __call__(self, images: NDArray[np.uint8], n_views: int, seed: tuple[int, ...]) -> NDArray[np.float16]:
        table = np.zeros((len(images), 1 + n_views, 4), np.float16)
        table[:, :, :3] = images.mean(axis=(2, 3))[:, np.newaxis]
        table[:, 1:, 3] = 1 + np.random.default_rng(seed).random((len(images), n_views))
        return table


@pytest.fixture(scope="module")
def draws() -> Iterator[ModuleType]:
    with imported(BENCHMARKS, ["embedded_draws"]) as modules:
        yield modules["embedded_draws"]


def test_a_draw_differs_from_its_own_embedding_in_the_views_alone(draws: ModuleType, tmp_path: Path) -> None:
    source = tiny_source(48, channels=3)
    shared = draws.SharedEmbedder(Averages(), source.images, tmp_path / "shared.npz")
    for name, embedder in (("own", Averages()), ("shared", shared), ("again", shared)):
        write_data_directory(tmp_path / name, source, embedder=embedder, **SIZES)
    own, drawn, again = (DataDirectory(tmp_path / name) for name in ("own", "shared", "again"))
    assert drawn.index.model_copy(update={"embeddings": own.index.embeddings}) == own.index
    for split in SPLITS:
        one, other = own.load_inputs(split), drawn.load_inputs(split)
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.compared, other.compared)
        assert np.array_equal(one.inputs[:, :, :3], other.inputs[:, :, :3])  # views of the right images
        assert np.array_equal(other.inputs, again.load_inputs(split).inputs)
    views = drawn.load_inputs("train_unlabeled").inputs[:, 1:, 3]
    assert (views[:, 0] != views[:, 1]).all()


def test_shared_embeddings_are_read_again_and_those_of_other_weights_are_refused(
    draws: ModuleType, tmp_path: Path
) -> None:
    images, file = tiny_source(12, channels=3).images, tmp_path / "shared.npz"
    table = draws.SharedEmbedder(Averages(), images, file).table
    assert np.array_equal(draws.SharedEmbedder(Averages(), images, file).table, table)
    other = Averages()
    other.description = other.description.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(SystemExit, match="is of other weights; delete it"):
        draws.SharedEmbedder(other, images, file)
