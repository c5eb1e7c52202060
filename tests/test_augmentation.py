import pytest
import torch
from torch import Tensor

from aae_toolkit.training.augmentation import add_noise, random_warp


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
