from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_distributed import run_ranks

from aae_toolkit.distributed import is_alone
from aae_toolkit.launch import World
from aae_toolkit.training import neighbors
from aae_toolkit.training.neighbors import nearest_neighbors

CPU = torch.device("cpu")


def random_images(n: int = 60, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def as_sets(found: NDArray[np.int64]) -> list[set[int]]:
    return [set(row) for row in found.tolist()]


def by_brute_force(
    images: NDArray[np.uint8], k: int, among: NDArray[np.int64] | None = None, window: int = 1
) -> list[set[int]]:
    """Every distance by hand, of pictures averaged over squares; squares at the edge are of what is there."""
    n, channels, height, width = images.shape
    pixels = images.astype(np.float64)
    rows, columns = range(0, height, window), range(0, width, window)
    small = np.array([[pixels[..., i : i + window, j : j + window].mean(axis=(-1, -2)) for j in columns] for i in rows])
    flat = small.transpose(2, 3, 0, 1).reshape(n, -1)
    assert flat.shape[1] == channels * len(rows) * len(columns)
    distances = np.square(flat[:, np.newaxis] - flat).sum(axis=2)
    distances[np.arange(n), np.arange(n)] = np.inf
    if among is not None:
        distances[:, np.setdiff1d(np.arange(n), among)] = np.inf
    return as_sets(distances.argsort(axis=1)[:, :k])


@pytest.mark.parametrize("k", [1, 5, 59])
def test_neighbours_are_those_of_brute_force(k: int) -> None:
    images = random_images()
    found = nearest_neighbors(images, k, CPU)
    assert found.shape == (60, k)
    assert found.dtype == np.int64
    assert as_sets(found) == by_brute_force(images, k)


@pytest.mark.parametrize(
    ("shape", "window"),
    [((1, 8, 8), 1), ((3, 6, 6), 1), ((3, 20, 30), 1), ((1, 28, 28), 2), ((2, 30, 43), 2), ((1, 1, 3), 1)],
)
def test_any_image_shape_has_neighbours(shape: tuple[int, int, int], window: int) -> None:
    images = random_images(40, shape)
    assert as_sets(nearest_neighbors(images, 4, CPU)) == by_brute_force(images, 4, window=window)


def test_an_image_is_never_its_own_neighbour_even_among_copies() -> None:
    images = random_images(5).repeat(4, axis=0)  # each four times
    found = nearest_neighbors(images, 3, CPU)
    copies = [{j for j in range(20) if j // 4 == i // 4 and j != i} for i in range(20)]
    assert as_sets(found) == copies


def test_rows_are_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_ROWS", 7)
    images = random_images()
    assert as_sets(nearest_neighbors(images, 4, CPU)) == by_brute_force(images, 4)


def test_of_more_images_than_candidates_evenly_spaced_ones_are_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_CANDIDATES", 16)
    images = random_images()
    found = nearest_neighbors(images, 4, CPU)
    among = np.unique(found)
    assert len(among) == 16
    assert among[0] == 0
    assert among[-1] == 59
    assert set(np.diff(among)) <= {3, 4}
    assert as_sets(found) == by_brute_force(images, 4, among)


def _save_neighbors(world: World, path: Path) -> None:
    assert not is_alone()
    for n in (60, 61):
        np.save(path / f"{world.rank} {n}.npy", nearest_neighbors(random_images(n), 4, CPU, world))


def test_two_processes_share_the_search_and_both_have_all_of_it(tmp_path: Path) -> None:
    run_ranks(_save_neighbors, 2, tmp_path)
    for n in (60, 61):
        alone = as_sets(nearest_neighbors(random_images(n), 4, CPU))
        assert as_sets(np.load(tmp_path / f"0 {n}.npy")) == alone
        assert as_sets(np.load(tmp_path / f"1 {n}.npy")) == alone
