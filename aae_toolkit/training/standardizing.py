"""Means and standard deviations of the training images, value by value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.models.networks import Networks, Standardize, scale

_PIECE = 1000  # images in memory as float64 at once
_CONSTANT = 1e-6  # standard deviation, in units of [0, 1], below which a value counts as constant


class Moments(NamedTuple):
    """Mean and standard deviation of each value of images in [0, 1], float64 [C, H, W]; 1 where it is constant."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def standardize(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Standardize images, uint8 or float32 [N, C, H, W], into rows float32 [N, C*H*W]."""
        standardized: NDArray[np.float32] = ((_unit_range(images) - self.mean) / self.scale).astype(np.float32)
        return standardized.reshape(len(images), -1)

    def directions(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Standardize images into rows float32 [N, F], and scale each row to the length that it has on average."""
        rows = self.standardize(images)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)
        scaled: NDArray[np.float32] = rows * (np.sqrt(rows.shape[1]) / lengths).astype(np.float32)
        return scaled


def moments_of(parts: Iterable[NDArray[Any]]) -> Moments:
    """Compute the moments over all parts, uint8 or float32 [N, C, H, W] each, a piece of them in memory at a time."""
    pieces = [part[first : first + _PIECE] for part in parts for first in range(0, len(part), _PIECE)]
    n = sum(map(len, pieces))
    mean = sum(_unit_range(piece).sum(axis=0) for piece in pieces) / n
    variance = sum(np.square(_unit_range(piece) - mean).sum(axis=0) for piece in pieces) / n
    deviation = np.sqrt(variance)
    return Moments(mean, np.where(deviation < _CONSTANT, 1.0, deviation))


def set_moments(networks: Networks, moments: Moments) -> None:
    """Set every layer that standardizes, or undoes it."""
    for module in networks.modules():
        if isinstance(module, Standardize):
            module.mean.copy_(torch.from_numpy(moments.mean))
            module.scale.copy_(torch.from_numpy(moments.scale))


def _unit_range(images: NDArray[Any]) -> NDArray[np.float64]:
    """Scale images to [0, 1], as the networks see them."""
    scaled: NDArray[np.float64] = scale(torch.from_numpy(np.ascontiguousarray(images))).double().numpy()
    return scaled
