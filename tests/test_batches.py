import numpy as np
import pytest
import torch

from aae_toolkit.data.split import Split
from aae_toolkit.distributed.world import World
from aae_toolkit.training.batches import Batches

CPU = torch.device("cpu")
RING = (np.arange(50)[:, np.newaxis] + [1, 2, 3]) % 50  # neighbours of 50 images: the three that follow


def numbered(n: int, labels: int = -1) -> Split:
    """Images that carry their own index in their first two pixels."""
    images = np.zeros((n, 1, 1, 2), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
    return Split(images, np.full(n, labels, dtype=np.int64))


def indices(images: torch.Tensor) -> list[int]:
    pixels = (images * 255).round().long()
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 0, 1]).tolist()


@pytest.mark.parametrize(("n", "batch_size"), [(470, 10), (10, 3), (101, 100), (5, 4), (3, 2), (2, 100), (7, 2)])
def test_an_epoch_is_one_pass_in_batches_that_batch_norm_can_take(n: int, batch_size: int) -> None:
    batches = Batches(numbered(n), None, batch_size, seed=0, device=CPU)
    epoch = [indices(batch.images) for batch in batches.epoch(0)]
    assert len(epoch) == batches.steps_per_epoch
    assert sorted(i for batch in epoch for i in batch) == list(range(n))
    sizes = [len(batch) for batch in epoch]
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch_size, 3)
    assert max(sizes) - min(sizes) <= 1


def test_images_are_scaled_to_zero_one() -> None:
    split = Split(np.array([[[[0, 255]]], [[[51, 102]]]], dtype=np.uint8), np.array([-1, -1]))
    batch = next(Batches(split, None, 2, seed=0, device=CPU).epoch(0))
    assert sorted(batch.images.flatten().tolist()) == pytest.approx([0, 0.2, 0.4, 1])
    assert batch.images.dtype == torch.float32


def test_labelled_images_cycle_evenly_while_the_unlabelled_are_passed_once() -> None:
    batches = Batches(numbered(100), numbered(7, labels=1), 10, seed=0, device=CPU)
    seen = [i for epoch in range(7) for b in batches.epoch(epoch) for i in indices(b.labeled_images)]
    assert len(seen) == 700
    assert np.bincount(seen).tolist() == [100] * 7


def test_any_epoch_gives_the_same_batches_whatever_ran_before() -> None:
    fresh = Batches(numbered(50), numbered(9, labels=0), 8, seed=5, device=CPU)
    used = Batches(numbered(50), numbered(9, labels=0), 8, seed=5, device=CPU)
    for epoch in range(3):
        list(used.epoch(epoch))
    for a, b in zip(fresh.epoch(3), used.epoch(3), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labeled_images, b.labeled_images)


def test_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = Batches(numbered(64), None, 64, seed=seed, device=CPU)
        return indices(next(batches.epoch(epoch)).images)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize(("n", "size"), [(40, 2), (43, 2), (41, 4)])
def test_processes_share_every_batch_evenly_and_see_each_image_once(n: int, size: int) -> None:
    def shares(world_size: int, rank: int) -> list[list[int]]:
        world = World(rank, world_size, rank)
        batches = Batches(numbered(n), numbered(9, labels=0), 8, seed=0, device=CPU, world=world)
        return [indices(b.images) + [-1 - i for i in indices(b.labeled_images)] for b in batches.epoch(1)]

    ranks = [shares(size, rank) for rank in range(size)]
    for parts in zip(*ranks, strict=True):
        assert len({len(part) for part in parts}) == 1
    seen = [i for rank in ranks for step in rank for i in step if i >= 0]
    assert len(seen) == len(set(seen)) == n - n % size
    if n % size == 0:
        whole = [sorted(step) for step in shares(1, 0)]
        assert [sorted(i for part in parts for i in part) for parts in zip(*ranks, strict=True)] == whole


def test_an_epoch_can_be_entered_at_any_step() -> None:
    batches = Batches(numbered(50), numbered(9, labels=0), 8, seed=5, device=CPU)
    for a, b in zip(list(batches.epoch(2))[3:], batches.epoch(2, 3), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labeled_images, b.labeled_images)


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_those_of_a_resident_set(workers: int) -> None:
    sets = numbered(50), numbered(9, labels=0), 8
    resident = Batches(*sets, seed=5, device=CPU, neighbors=RING)
    options = {"num_workers": workers}
    streamed = Batches(*sets, seed=5, device=CPU, streams=True, loader_options=options, neighbors=RING)
    assert streamed.streams
    assert not resident.streams
    for a, b in zip(resident.epoch(1, 2), streamed.epoch(1, 2), strict=True):
        assert all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("asked", "size"), [(None, 10), (4, 4), (25, 25)])
def test_labelled_batches_have_a_size_of_their_own(asked: int | None, size: int) -> None:
    batches = Batches(numbered(100), numbered(7, labels=1), 10, seed=0, device=CPU, labeled_batch_size=asked)
    epoch = list(batches.epoch(0))
    assert {len(batch.images) for batch in epoch} == {10}
    assert {(len(batch.labeled_images), len(batch.labels)) for batch in epoch} == {(size, size)}
    seen = np.bincount([i for batch in epoch for i in indices(batch.labeled_images)])
    assert seen.sum() == 10 * size
    assert seen.max() - seen.min() <= 1


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_the_labelled_batches_too(rank: int) -> None:
    world = World(rank, 2, rank)
    sets = numbered(40), numbered(30, labels=1), 8
    whole = Batches(*sets, seed=0, device=CPU, labeled_batch_size=6).epoch(1)
    part = Batches(*sets, seed=0, device=CPU, labeled_batch_size=6, world=world).epoch(1)
    for ours, everyones in zip(part, whole, strict=True):
        assert indices(ours.labeled_images) == indices(everyones.labeled_images)[rank::2]


def test_a_batch_says_which_images_it_holds() -> None:
    for batch in Batches(numbered(50), None, 8, seed=0, device=CPU).epoch(0):
        assert batch.indices.tolist() == indices(batch.images)
        assert batch.partners is None
        assert batch.partner_indices is None


def test_an_images_partner_is_one_of_its_neighbours_another_one_each_time() -> None:
    batches = Batches(numbered(50), None, 8, seed=0, device=CPU, neighbors=RING)
    seen = np.zeros((50, 50), dtype=int)
    for epoch in range(40):
        for batch in batches.epoch(epoch):
            assert batch.partner_indices.tolist() == indices(batch.partners)
            np.add.at(seen, (indices(batch.images), indices(batch.partners)), 1)
    assert all((row.nonzero()[0] == np.sort(following)).all() for row, following in zip(seen, RING, strict=True))
    assert seen[seen > 0].sum() == 50 * 40


def test_partners_change_nothing_else_in_a_batch() -> None:
    sets = numbered(50), numbered(9, labels=0), 8
    batches, without = Batches(*sets, seed=0, device=CPU, neighbors=RING), Batches(*sets, seed=0, device=CPU)
    for a, b in zip(batches.epoch(1), without.epoch(1), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labeled_images, b.labeled_images)


def test_partners_depend_on_seed_and_epoch_alone() -> None:
    def partners(seed: int, epoch: int, first_step: int = 0) -> list[list[int]]:
        batches = Batches(numbered(50), None, 8, seed=seed, device=CPU, neighbors=RING)
        return [indices(batch.partners) for batch in batches.epoch(epoch, first_step)]

    assert partners(0, 3)[2:] == partners(0, 3, 2)
    assert partners(0, 3) != partners(0, 4)
    assert partners(0, 3) != partners(1, 3)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_see_the_pairs_that_one_would(size: int) -> None:
    def pairs(world_size: int, rank: int) -> list[set[tuple[int, int]]]:
        world = World(rank, world_size, rank)
        batches = Batches(numbered(40), None, 8, 0, CPU, neighbors=RING[:40] % 40, world=world)
        return [set(zip(indices(b.images), indices(b.partners), strict=True)) for b in batches.epoch(0)]

    ranks = [pairs(size, rank) for rank in range(size)]
    assert [set().union(*parts) for parts in zip(*ranks, strict=True)] == pairs(1, 0)
