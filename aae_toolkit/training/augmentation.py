"""Random changes of a batch of images, computed on the batch's device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_ROTATION = math.radians(15)  # largest angle in either direction
_SCALE = 0.15  # largest change of size, as a fraction
_SHEAR = 0.2  # largest slant
_SHIFT = 0.14  # largest shift, as a fraction of half the picture (2 pixels of 28)
_CROP_RATIO = 16 / 9  # most that the proportions of a crop differ, from 3:4 to 4:3
_RGB = 3  # channels
_ELASTIC_GRID = 6  # points a side at which local shifts are drawn; in between they are interpolated


@dataclass(frozen=True)
class Placement:
    """Changes of where an image lies, beside the affine ones.

    Attributes:
        horizontal_flip: mirror left and right, with probability 1/2.
        vertical_flip: mirror top and bottom, with probability 1/2.
        quarter_turns: turn by 0, 90, 180 or 270 degrees; images must be squares.
        crop: largest share of the area that a crop leaves out; the rest is enlarged to the whole image.
        reflects: pixels from outside the image mirror those inside; else they are 0.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    quarter_turns: bool = False
    crop: float = 0.0
    reflects: bool = False

    @property
    def is_on(self) -> bool:
        """Whether images move."""
        return self.horizontal_flip or self.vertical_flip or self.quarter_turns or self.crop > 0


STAYS = Placement()


def random_warp(images: Tensor, strength: float = 1.0, elastic: float = 0.0, placement: Placement = STAYS) -> Tensor:
    """Move, turn, scale, slant and bend each image at random, in one interpolation.

    Args:
        images: float32 [B, C, H, W]; embeddings [B, F] stay as they are.
        strength: strength of the affine changes; 1 is up to 15 degrees, 15% of the size, a slant of 0.2 and a shift
            of 7% of a side.
        elastic: standard deviation of local shifts, as a fraction of half the picture. [Simard et al., "Best
            Practices for Convolutional Neural Networks Applied to Visual Document Analysis"].
        placement: flips, quarter turns and crops.

    Returns:
        float32 [B, C, H, W]; `images` itself where nothing changes.
    """
    if images.ndim == 2 or (strength == 0 and elastic == 0 and not placement.is_on):
        return images
    n, device = len(images), images.device
    angle, shear, shift_x, shift_y = (strength * (2 * torch.rand(4, n, device=device) - 1)).unbind()
    angle, shear = angle * _ROTATION, shear * _SHEAR
    size_x, size_y = 1 + _SCALE * strength * (2 * torch.rand(2, n, device=device) - 1)
    cos, sin = angle.cos(), angle.sin()
    height, width = images.shape[-2:]
    x, y = _pixel_centers(width, device), _pixel_centers(height, device).unsqueeze(1)  # [W], [H, 1]
    if placement.is_on:
        x, y = _place(x, y, n, placement)
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
    outside = "reflection" if placement.reflects else "zeros"
    return F.grid_sample(images, positions, padding_mode=outside, align_corners=False)


def _place(x: Tensor, y: Tensor, n: int, placement: Placement) -> tuple[Tensor, Tensor]:
    """Compute where each pixel of n images comes from, [n, H, W] each, from the positions [W] and [H, 1]."""
    device = x.device
    if placement.quarter_turns:
        turned, upside_down = torch.randint(2, (2, n, 1, 1), device=device).bool()
        x, y = torch.where(turned, y, x), torch.where(turned, -x, y)
        x, y = torch.where(upside_down, -x, x), torch.where(upside_down, -y, y)
    if placement.horizontal_flip:
        x = x * _signs(n, device)
    if placement.vertical_flip:
        y = y * _signs(n, device)
    if placement.crop:
        area, stretch, right, down = torch.rand(4, n, 1, 1, device=device)
        side = (1 - placement.crop * area).sqrt()
        ratio = _CROP_RATIO ** (stretch - 0.5)  # of width to height
        width, height = (side * ratio).clamp_max(1), (side / ratio).clamp_max(1)
        x = x * width + (2 * right - 1) * (1 - width)
        y = y * height + (2 * down - 1) * (1 - height)
    return x, y


def _signs(n: int, device: torch.device) -> Tensor:
    """Draw -1 or 1 for each of n images, [n, 1, 1]."""
    return 2.0 * torch.randint(2, (n, 1, 1), device=device) - 1


@dataclass(frozen=True)
class Colors:
    """Largest change of brightness, contrast and saturation, each as a fraction."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


def random_colors(images: Tensor, colors: Colors, strength: float = 1.0) -> Tensor:
    """Change brightness, contrast and saturation of each image at random.

    `torchvision.transforms.v2` draws one change for a whole batch; here each image gets its own.

    Args:
        images: float32 [B, C, H, W]; only three channels have a saturation.
        colors: largest changes.
        strength: factor of all of them.

    Returns:
        float32 [B, C, H, W]; values may leave [0, 1] a little, which costs less than clipping and harms nothing.
    """
    if colors.brightness:
        images = images * _factors(images, strength * colors.brightness)
    if colors.contrast:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * _factors(images, strength * colors.contrast)
    if colors.saturation and images.shape[1] == _RGB:
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * _factors(images, strength * colors.saturation)
    return images


def _factors(images: Tensor, largest: float) -> Tensor:
    """Draw a factor around 1 for each image, [B, 1, 1, 1]."""
    return 1 + largest * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)


def random_erasing(images: Tensor, largest_side: float) -> Tensor:
    """Cover a rectangle at a random place of each image with the image's mean. [Zhong et al.; DeVries & Taylor].

    Args:
        images: float32 [B, C, H, W].
        largest_side: longest side of the rectangle, as a fraction of the image's; 0 returns `images` itself.
    """
    if largest_side == 0:
        return images
    n, device = len(images), images.device
    height, width = images.shape[-2:]
    across, along, tall, wide = torch.rand(4, n, 1, 1, device=device)
    x, y = _pixel_centers(width, device), _pixel_centers(height, device).unsqueeze(1)
    covered = ((x - (2 * across - 1)).abs() < largest_side * wide) & ((y - (2 * along - 1)).abs() < largest_side * tall)
    return torch.where(covered.unsqueeze(1), images.mean(dim=(2, 3), keepdim=True), images)


def add_noise(images: Tensor, standard_deviation: float, unit: Tensor | float = 1.0) -> Tensor:
    """Add Gaussian noise, without clipping; return `images` itself where the deviation is 0.

    Args:
        images: float32 [B, C, H, W].
        standard_deviation: standard deviation of the noise, in units of `unit`.
        unit: a number, or a number for each value [C, H, W], as `Encoder.noise_unit`.
    """
    if standard_deviation == 0:
        return images
    return images + standard_deviation * unit * torch.randn_like(images)


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
