import pytest
import torch
from torch import Tensor

from aae_toolkit.training.augmentation import (
    Colors,
    Placement,
    add_noise,
    random_colors,
    random_erasing,
    random_warp,
)


def test_augmentation_keeps_shape_and_range_and_changes_each_image_in_its_own_way() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 20, 28)
    image[:, :, 6:14, 8:20] = 1
    changed = random_warp(image.expand(16, -1, -1, -1))
    assert changed.shape == (16, 3, 20, 28)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) == 16


def test_augmentation_is_small() -> None:
    torch.manual_seed(0)
    image = torch.zeros(64, 1, 28, 28)
    image[:, :, 10:18, 10:18] = 1
    changed = random_warp(image)
    mass = changed.sum((1, 2, 3)) / image.sum((1, 2, 3))
    assert 0.6 < mass.min() < mass.max() < 1.6
    overlap = (changed * image).sum((1, 2, 3)) / image.sum((1, 2, 3))
    assert overlap.min() > 0.4


def disk(n: int) -> Tensor:
    """A bright disk in the middle of pictures [n, 1, 40, 40]: smooth, so that small changes show as such."""
    side = torch.linspace(-1, 1, 40)
    return (-4 * (side.square() + side.unsqueeze(1).square())).exp().expand(n, 1, 40, 40)


def test_with_nothing_to_change_the_images_are_given_back_and_nothing_is_drawn() -> None:
    images, stream = disk(4), torch.get_rng_state()
    assert random_warp(images, 0, 0) is images
    assert add_noise(images, 0) is images
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_bends_keep_the_shape_and_differ_between_images(strength: float) -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 20, 28).expand(16, -1, -1, -1)
    bent = random_warp(images, strength, elastic=0.1)
    assert bent.shape == (16, 3, 20, 28)
    assert 0 <= bent.min() <= bent.max() <= 1
    assert len({tuple(picture.flatten().tolist()) for picture in bent}) == 16


def test_bends_are_local_and_grow_with_elastic() -> None:
    def moved(elastic: float) -> float:
        torch.manual_seed(0)
        return (random_warp(disk(64), 0, elastic) - disk(64)).abs().mean().item()

    assert 0 < moved(0.01) < moved(0.05) < moved(0.2)
    torch.manual_seed(0)
    halves = (random_warp(disk(64), 0, 0.05) - disk(64)).flatten(1).unflatten(1, (2, 800)).mean(dim=2)
    assert torch.corrcoef(halves.T)[0, 1].abs() < 0.5  # a shift of all would move both alike or against each other


def test_strength_scales_the_largest_change() -> None:
    def farthest(strength: float) -> float:
        """Of the disk's centre, in pixels."""
        torch.manual_seed(0)
        pictures = random_warp(disk(256), strength).squeeze(1)
        centers = (pictures.sum(dim=1) * torch.arange(40)).sum(dim=1) / pictures.sum((1, 2))
        return (centers - 19.5).abs().max().item()

    usual = farthest(1.0)
    assert usual == pytest.approx(0.14 * 20, rel=0.15)  # 7% of the side
    assert farthest(0.5) == pytest.approx(usual / 2, rel=0.15)
    assert farthest(2.0) > 1.5 * usual


def test_noise_has_the_deviation_asked_for() -> None:
    torch.manual_seed(0)
    noise = add_noise(disk(64), 0.3) - disk(64)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def corner() -> Tensor:
    """Images [32, 1, 16, 16] with one bright corner, top left."""
    images = torch.zeros(32, 1, 16, 16)
    images[:, :, :4, :4] = 1
    return images


def corners_of(images: Tensor) -> set[tuple[int, int]]:
    """Corners that are bright in some image, as (lower, right)."""
    parts = {(0, 0): (2, 2), (0, 1): (2, -3), (1, 0): (-3, 2), (1, 1): (-3, -3)}
    return {name for name, (y, x) in parts.items() if (images[:, 0, y, x] > 0.5).any()}


@pytest.mark.parametrize(
    ("placement", "corners"),
    [
        (Placement(horizontal_flip=True), {(0, 0), (0, 1)}),
        (Placement(vertical_flip=True), {(0, 0), (1, 0)}),
        (Placement(horizontal_flip=True, vertical_flip=True), {(0, 0), (0, 1), (1, 0), (1, 1)}),
        (Placement(quarter_turns=True), {(0, 0), (0, 1), (1, 0), (1, 1)}),
    ],
)
def test_a_flip_or_a_turn_reaches_these_corners_and_moves_whole_pixels(placement: Placement, corners: set) -> None:
    torch.manual_seed(0)
    moved = random_warp(corner(), 0, placement=placement)
    assert corners_of(moved) == corners
    assert torch.allclose(moved.sum((1, 2, 3)), torch.tensor(16.0), atol=1e-3)


def test_a_crop_enlarges_a_part_of_the_image_and_shows_nothing_from_outside() -> None:
    torch.manual_seed(0)
    across = torch.linspace(0, 1, 32).expand(256, 1, 32, 32)
    cropped = random_warp(across, 0, placement=Placement(crop=0.5, reflects=True))
    first, last = cropped[:, 0, 16, 0], cropped[:, 0, 16, -1]
    assert (first >= -1e-4).all()
    assert (last <= 1 + 1e-4).all()
    assert 0.5 < (last - first).min() < (last - first).max() <= 1.001  # at least sqrt(1/2) * sqrt(3/4) of the width
    assert first.max() > 0.2


def test_what_a_warp_takes_from_outside_is_black_or_a_reflection() -> None:
    white = torch.ones(64, 1, 16, 16)
    torch.manual_seed(0)
    assert random_warp(white, 2.0).min() < 0.5
    assert random_warp(white, 2.0, placement=Placement(reflects=True)).min() > 0.99


def test_each_image_has_its_own_colours_and_grey_ones_stay_grey() -> None:
    torch.manual_seed(0)
    images = torch.rand(1, 3, 8, 8).expand(16, -1, -1, -1)
    changed = random_colors(images, Colors(0.3, 0.3, 0.3))
    assert len({round(value, 5) for value in changed.mean((1, 2, 3)).tolist()}) == 16
    grey = torch.rand(16, 1, 8, 8).expand(-1, 3, -1, -1)
    toned = random_colors(grey, Colors(saturation=0.5))
    assert torch.allclose(toned, grey, atol=1e-6)


def test_contrast_keeps_the_mean_and_brightness_stays_within_its_strength() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 1, 8, 8)
    assert torch.allclose(
        random_colors(images, Colors(contrast=0.5)).mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-5
    )
    factors = random_colors(images, Colors(brightness=0.2)).sum((1, 2, 3)) / images.sum((1, 2, 3))
    assert 0.8 <= factors.min() < 0.85 < 1.15 < factors.max() <= 1.2


def test_an_erased_rectangle_has_the_mean_of_the_image_and_a_bounded_side() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 3, 20, 20)
    erased = random_erasing(images, 0.4)
    covered = (erased != images).all(dim=1)
    assert covered.any(dim=(1, 2)).float().mean() > 0.7
    assert covered.any(dim=2).sum(dim=1).max() <= 9  # rows: 0.4 of 20, and one at the edge
    means = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    assert torch.equal(erased[covered.unsqueeze(1).expand_as(erased)], means[covered.unsqueeze(1).expand_as(means)])


def test_changes_that_are_off_return_the_images_and_draw_nothing() -> None:
    images, stream = disk(4), torch.get_rng_state()
    assert random_colors(images, Colors()) is images
    assert random_erasing(images, 0.0) is images
    assert torch.equal(torch.get_rng_state(), stream)
