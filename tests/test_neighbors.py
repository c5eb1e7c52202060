from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_distributed import run_ranks

from aae_toolkit.config import Likeness
from aae_toolkit.distributed.collectives import is_alone
from aae_toolkit.distributed.world import World
from aae_toolkit.training import neighbors
from aae_toolkit.training.inverted_file import InvertedFile
from aae_toolkit.training.neighbors import (
    Search,
    describe_images,
    is_thinned,
    nearest_neighbors,
    spread_labels,
)

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
    found = nearest_neighbors(images, k, CPU, likeness="pixels")
    assert found.shape == (60, k)
    assert found.dtype == np.int64
    assert as_sets(found) == by_brute_force(images, k)


@pytest.mark.parametrize(
    ("shape", "window"),
    [((1, 8, 8), 1), ((3, 6, 6), 1), ((3, 20, 30), 1), ((1, 28, 28), 2), ((2, 30, 43), 2), ((1, 1, 3), 1)],
)
def test_any_image_shape_has_neighbours(shape: tuple[int, int, int], window: int) -> None:
    images = random_images(40, shape)
    assert as_sets(nearest_neighbors(images, 4, CPU, likeness="pixels")) == by_brute_force(images, 4, window=window)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 6), (1, 28, 28), (3, 20, 90), (1, 60, 61), (1, 1, 3)])
def test_gradients_of_any_image_shape_have_length_one(shape: tuple[int, int, int]) -> None:
    described = neighbors._described(random_images(5, shape), CPU, "gradients")
    assert described.dim() == 2
    assert 8 <= described.shape[1] <= 8 * 14 * 14 * shape[2] / min(shape[1:])
    torch.testing.assert_close(described.norm(dim=1), torch.ones(5))


def test_gradients_are_counted_by_orientation_and_by_square() -> None:
    image = np.zeros((1, 1, 28, 28), np.uint8)
    image[..., 14:] = 200  # one edge, upright, whose gradient points right
    histograms = neighbors._described(image, CPU, "gradients").view(8, 7, 7)
    assert torch.equal(histograms.sum(dim=(1, 2)) > 0, torch.arange(8) == 0)
    assert histograms[0, 1:-1].sum(dim=0).nonzero().flatten().tolist() == [3]  # squares overlap by one pixel
    turned = neighbors._described(image.swapaxes(2, 3), CPU, "gradients").view(8, 7, 7)
    torch.testing.assert_close(turned[2], histograms[0].T)
    assert not torch.equal(histograms, torch.zeros(8, 7, 7))


def test_a_gradient_between_two_orientations_counts_for_both() -> None:
    y, x = np.mgrid[:8, :8]
    image = np.round(8 * x + 8 * np.tan(np.pi / 8) * y).astype(np.uint8)  # rises at 22.5 degrees
    inner = neighbors._described(image[np.newaxis, np.newaxis], CPU, "gradients").view(8, 8, 8)[:, 2:-2, 2:-2]
    torch.testing.assert_close(inner[0], inner[1], atol=0.03, rtol=0)
    assert inner[2:].max() < 0.03


def test_likeness_by_gradients_is_of_shape_and_by_pixels_of_brightness() -> None:
    bright, dark, bright_other = (np.zeros((1, 28, 28), np.uint8) for _ in range(3))
    bright[:, 4:24, 8] = 255
    dark[:, 4:24, 8] = 60
    bright_other[:, 8, 4:24] = 255
    blank = np.zeros((1, 28, 28), np.uint8)
    images = np.stack([bright, dark, bright_other, blank])
    assert nearest_neighbors(images, 1, CPU)[0] == 1
    assert nearest_neighbors(images, 1, CPU, likeness="pixels")[1] == 3
    assert not neighbors._described(images, CPU, "gradients")[3].any()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_likeness_by_gradients_and_colours_is_of_both(channels: int) -> None:
    red, moved, blue = (np.zeros((channels, 28, 28), np.uint8) for _ in range(3))
    red[0, 4:24, 8], moved[0, 4:24, 18], blue[-1 if channels == 3 else 0, 4:24, 8] = 200, 200, 90
    described = neighbors._described(np.stack([red, moved, blue]), CPU, "gradients-and-colours")
    shapes, colors = described[:, : 8 * 7 * 7], described[:, 8 * 7 * 7 :]
    assert colors.shape[1] == 4 ** min(channels, 3)
    torch.testing.assert_close(colors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(shapes[0], shapes[2])
    assert torch.equal(colors[0], colors[1])
    assert not torch.allclose(shapes[0], shapes[1])
    assert not torch.allclose(colors[0], colors[2])


def test_rows_are_alike_by_standardized_features_or_by_their_directions() -> None:
    rows = np.random.default_rng(0).random((60, 5)) * [1, 0.5, 0.1, 0.01, 0]  # the last never varies
    standardized = rows - rows.mean(axis=0)
    standardized[:, :4] /= rows[:, :4].std(axis=0)
    images = rows.astype(np.float32).reshape(60, 1, 1, 5)
    for likeness in ("features", "directions"):
        if likeness == "directions":
            standardized /= np.linalg.norm(standardized, axis=1, keepdims=True)
        distances = np.square(standardized[:, np.newaxis] - standardized).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        found = nearest_neighbors(images, 4, CPU, likeness=likeness)
        assert as_sets(found) == as_sets(distances.argsort(axis=1)[:, :4])


@pytest.mark.parametrize("likeness", ["gradients", "pixels"])
def test_other_images_have_neighbours_too(likeness: Likeness) -> None:
    images, others = random_images(), random_images(7, seed=1)
    others[3] = images[20]
    found = nearest_neighbors(images, 4, CPU, of=others, likeness=likeness)
    assert found.shape == (7, 4)
    assert found[3, 0] == 20  # itself not left out
    distances = torch.cdist(*(neighbors._described(part, CPU, likeness) for part in (others, images)))
    assert as_sets(found) == as_sets(distances.topk(4, largest=False).indices.numpy())


def test_an_image_is_never_its_own_neighbour_even_among_copies() -> None:
    images = random_images(5).repeat(4, axis=0)  # each four times
    found = nearest_neighbors(images, 3, CPU)
    copies = [{j for j in range(20) if j // 4 == i // 4 and j != i} for i in range(20)]
    assert as_sets(found) == copies


def test_rows_are_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "_ROWS", 7)
    images = random_images()
    assert as_sets(nearest_neighbors(images, 4, CPU, likeness="pixels")) == by_brute_force(images, 4)


def test_of_more_images_than_candidates_evenly_spaced_ones_are_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "CANDIDATES", 16)
    monkeypatch.setattr(neighbors, "is_installed", lambda: False)
    images = random_images()
    found = nearest_neighbors(images, 4, CPU, likeness="pixels")
    among = np.unique(found)
    assert len(among) == 16
    assert among[0] == 0
    assert among[-1] == 59
    assert set(np.diff(among)) <= {3, 4}
    assert as_sets(found) == by_brute_force(images, 4, among)


def test_neighbours_are_sought_among_a_part_only_where_images_are_many_and_faiss_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbors, "is_installed", lambda: False)
    assert not is_thinned(2**16)
    assert is_thinned(2**16 + 1)
    monkeypatch.setattr(neighbors, "is_installed", lambda: True)
    assert not is_thinned(2**16 + 1)


def test_with_faiss_more_images_than_candidates_are_all_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    images, others = random_images(2000), random_images(7, seed=1)
    exact = nearest_neighbors(images, 4, CPU), nearest_neighbors(images, 4, CPU, of=others)
    monkeypatch.setattr(neighbors, "CANDIDATES", 16)
    search = Search(images, CPU)
    found = search.nearest(4), search.nearest(4, of=others)
    assert np.array_equal(found[0], Search(images, CPU).nearest(4))
    assert not (found[0] == np.arange(2000)[:, np.newaxis]).any()
    assert found[1].shape == (7, 4)
    for some, all_ in zip(found, exact, strict=True):  # random images have no clusters: lists miss many neighbours
        assert np.mean([len(a & b) / 4 for a, b in zip(as_sets(some), as_sets(all_), strict=True)]) > 0.4


def test_an_inverted_file_reads_further_lists_where_the_nearest_hold_too_few_images() -> None:
    pytest.importorskip("faiss")
    images = random_images(300).repeat(2, axis=0)  # each twice
    features = describe_images(images, CPU, "gradients")
    lists = InvertedFile(features, features.split(100), 600)
    lists.index.nprobe = 1
    found = lists.search(features[:5], 599, np.arange(5))
    assert [set(row) | {own} for own, row in enumerate(found.tolist())] == [set(range(600))] * 5
    assert lists.search(features[:6], 1, np.arange(6)).ravel().tolist() == [1, 0, 3, 2, 5, 4]
    assert lists.search(features[:6], 2, None).tolist() == [[0, 1]] * 2 + [[2, 3]] * 2 + [[4, 5]] * 2


def test_features_of_chosen_images_are_those_of_all() -> None:
    images, chosen = random_images(), np.array([0, 7, 59])
    whole = describe_images(images, CPU, "gradients")
    assert torch.equal(describe_images(images, CPU, "gradients", at=chosen), whole[chosen])


def _save_neighbors(world: World, path: Path) -> None:
    assert not is_alone()
    for n in (60, 61):
        np.save(path / f"{world.rank} {n}.npy", nearest_neighbors(random_images(n), 4, CPU, world=world))


def test_two_processes_share_the_search_and_both_have_all_of_it(tmp_path: Path) -> None:
    run_ranks(_save_neighbors, 2, tmp_path)
    for n in (60, 61):
        alone = as_sets(nearest_neighbors(random_images(n), 4, CPU))
        assert as_sets(np.load(tmp_path / f"0 {n}.npy")) == alone
        assert as_sets(np.load(tmp_path / f"1 {n}.npy")) == alone


def test_labels_spread_along_neighbourhoods_and_no_further() -> None:
    line, rows = np.arange(12), np.array([0] * 5 + [1] * 5 + [2] * 2)  # three rows of images, each linked to the next
    first, last = np.array([0, 5, 10])[rows], np.array([4, 9, 11])[rows]
    along = np.stack([np.maximum(line - 1, first), np.minimum(line + 1, last)], axis=1)
    labeled = np.array([[0, 1], [9, 8]])
    found = spread_labels(along, labeled, np.array([2, 0]))
    assert found.tolist() == [2] * 5 + [0] * 5 + [-1] * 2


def test_of_two_labels_the_nearer_wins() -> None:
    line = np.arange(10)
    row = np.stack([np.maximum(line - 1, 0), np.minimum(line + 1, 9)], axis=1)
    found = spread_labels(row, np.array([[0, 1], [9, 8]]), np.array([1, 0]))
    assert found.tolist() == [1] * 5 + [0] * 5
    more = spread_labels(row, np.array([[0, 1], [0, 1], [0, 1], [9, 8]]), np.array([1, 1, 1, 0]))
    assert (more == 1).sum() > 5
