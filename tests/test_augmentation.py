import torch

from aae_toolkit.training.augmentation import random_affine


def test_augmentation_keeps_shape_and_range_and_changes_each_image_in_its_own_way() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 20, 28)
    image[:, :, 6:14, 8:20] = 1
    changed = random_affine(image.expand(16, -1, -1, -1))
    assert changed.shape == (16, 3, 20, 28)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) == 16


def test_augmentation_is_small() -> None:
    torch.manual_seed(0)
    image = torch.zeros(64, 1, 28, 28)
    image[:, :, 10:18, 10:18] = 1
    changed = random_affine(image)
    mass = changed.sum((1, 2, 3)) / image.sum((1, 2, 3))
    assert 0.6 < mass.min() < mass.max() < 1.6
    overlap = (changed * image).sum((1, 2, 3)) / image.sum((1, 2, 3))
    assert overlap.min() > 0.4
