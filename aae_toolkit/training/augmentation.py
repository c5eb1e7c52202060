"""Random changes of a batch of images, computed on the batch's device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_ROTATION = math.radians(15)  # largest angle in either direction
_SCALE = 0.15  # largest change of size, as a fraction
_SHEAR = 0.2  # largest slant
_SHIFT = 0.14  # largest shift, as a fraction of half the picture (2 pixels of 28)
_ELASTIC_GRID = 6  # points a side at which local shifts are drawn; in between they are interpolated


def random_warp(images: Tensor, strength: float = 1.0, elastic: float = 0.0) -> Tensor:
    """Rotate, scale, slant, shift and bend each image a little, at random; pixels from outside the image are 0.

    Args:
        images: float32 [B, C, H, W]; embeddings [B, F] stay as they are.
        strength: strength of the affine changes; 1 is up to 15 degrees, 15% of the size, a slant of 0.2 and a shift
            of 7% of a side.
        elastic: standard deviation of local shifts, as a fraction of half the picture. [Simard et al., "Best
            Practices for Convolutional Neural Networks Applied to Visual Document Analysis"].

    Returns:
        float32 [B, C, H, W]; `images` itself where both strengths are 0.
    """
    if images.ndim == 2 or (strength == 0 and elastic == 0):
        return images
    n, device = len(images), images.device
    angle, shear, shift_x, shift_y = (strength * (2 * torch.rand(4, n, device=device) - 1)).unbind()
    angle, shear = angle * _ROTATION, shear * _SHEAR
    size_x, size_y = 1 + _SCALE * strength * (2 * torch.rand(2, n, device=device) - 1)
    cos, sin = angle.cos(), angle.sin()
    height, width = images.shape[-2:]
    x, y = _pixel_centers(width, device), _pixel_centers(height, device).unsqueeze(1)  # [W], [H, 1]
    # Not by affine_grid: under autocast its positions are bf16, a third of a pixel off.
    from_x = _each(size_x * cos) * x + _each(size_x * (shear * cos - sin)) * y + _each(shift_x * _SHIFT)  # [B, H, W]
    from_y = _each(size_y * sin) * x + _each(size_y * (shear * sin + cos)) * y + _each(shift_y * _SHIFT)
    positions = torch.stack([from_x, from_y], dim=-1)  # [B, H, W, 2]
    if elastic:
        drawn = elastic * torch.randn(n, 2, _ELASTIC_GRID, _ELASTIC_GRID, device=device)
        bends = (
            _spread(height, device) @ drawn @ _spread(width, device).T
        )  # [B, 2, H, W]; these are small enough for bf16
        positions = positions + bends.permute(0, 2, 3, 1)
    return F.grid_sample(images, positions, align_corners=False)


def add_noise(images: Tensor, standard_deviation: float) -> Tensor:
    """Add Gaussian noise, without clipping; return `images` itself where the deviation is 0.

    For embeddings [B, F] the deviation is in units of that of each feature over the batch.
    """
    if standard_deviation == 0:
        return images
    if images.ndim == 2:
        return images + standard_deviation * images.std(dim=0) * torch.randn_like(images)
    return images + standard_deviation * torch.randn_like(images)


def _pixel_centers(n: int, device: torch.device) -> Tensor:
    """Compute the positions of `n` pixels on a side that runs from -1 to 1."""
    return (2 * torch.arange(n, device=device) + 1) / n - 1


def _spread(n: int, device: torch.device) -> Tensor:
    """Compute the bicubic weight of each grid point for each of `n` pixels along a side, [n, grid points].

    Two products with this matrix take less time than interpolating each image.
    """
    points = torch.eye(_ELASTIC_GRID, device=device)[None, None]
    return F.interpolate(points, size=(n, _ELASTIC_GRID), mode="bicubic", align_corners=True)[0, 0]


def _each(values: Tensor) -> Tensor:
    """Shape a number per image, [B], to [B, 1, 1]."""
    return values.view(-1, 1, 1)
