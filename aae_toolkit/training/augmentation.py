"""Random affine changes of a batch of images, made where the batch lives."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_ROTATION = math.radians(15)  # largest angle, either way
_SCALE = 0.15  # largest change of size, as a fraction
_SHEAR = 0.2  # largest slant
_SHIFT = 0.14  # largest shift, as a fraction of half the picture (2 pixels of 28)


def random_affine(images: Tensor) -> Tensor:
    """Rotate, scale, slant and shift each image a little, at random; what comes in from outside is 0.

    Args:
        images: float32 [B, C, H, W].

    Returns:
        float32 [B, C, H, W].
    """
    n, device = len(images), images.device
    angle, shear, shift_x, shift_y = (2 * torch.rand(4, n, device=device) - 1).unbind()
    angle, shear = angle * _ROTATION, shear * _SHEAR
    size_x, size_y = 1 + _SCALE * (2 * torch.rand(2, n, device=device) - 1)
    cos, sin = angle.cos(), angle.sin()
    row_x = torch.stack([size_x * cos, size_x * (shear * cos - sin), shift_x * _SHIFT], dim=1)  # [B, 3]
    row_y = torch.stack([size_y * sin, size_y * (shear * sin + cos), shift_y * _SHIFT], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
