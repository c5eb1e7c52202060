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
    height, width = images.shape[-2:]
    x, y = _pixel_centers(width, device), _pixel_centers(height, device).unsqueeze(1)  # [W], [H, 1]
    # By hand: under autocast affine_grid gives positions in bf16, a third of a pixel off.
    from_x = _each(size_x * cos) * x + _each(size_x * (shear * cos - sin)) * y + _each(shift_x * _SHIFT)  # [B, H, W]
    from_y = _each(size_y * sin) * x + _each(size_y * (shear * sin + cos)) * y + _each(shift_y * _SHIFT)
    return F.grid_sample(images, torch.stack([from_x, from_y], dim=-1), align_corners=False)


def _pixel_centers(n: int, device: torch.device) -> Tensor:
    """Where `n` pixels lie on a side that runs from -1 to 1."""
    return (2 * torch.arange(n, device=device) + 1) / n - 1


def _each(values: Tensor) -> Tensor:
    """A number per image, [B] -> [B, 1, 1]."""
    return values.view(-1, 1, 1)
