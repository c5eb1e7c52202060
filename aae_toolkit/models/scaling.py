"""Scaling between a user's arrays and the pixels that networks take, in numpy alone for deployed classifiers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.models.description import FeatureScaling

Rows = NDArray[Any]
PIXELS = FeatureScaling(offset=(0.0,), span=(255.0,))  # scaling of uint8


def fit_scaling(rows: Rows, *, images: bool) -> FeatureScaling:
    """Fit the scaling under which `rows` [n, F] fill [0, 1].

    The range of uint8 is 0-255, images share one range, and else each feature has its own. A constant feature has a
    span of 1.
    """
    if rows.dtype == np.uint8:
        return PIXELS
    axis = None if images else 0
    low = np.atleast_1d(rows.min(axis=axis)).astype(np.float64)
    span = np.atleast_1d(rows.max(axis=axis)).astype(np.float64) - low
    span[span == 0] = 1
    return FeatureScaling(offset=tuple(low.tolist()), span=tuple(span.tolist()))


def to_images(rows: Rows, scaling: FeatureScaling, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Turn rows [n, F] into images [n, C, H, W]: uint8 where they are pixels already, else float32 in [0, 1]."""
    if rows.dtype == np.uint8 and scaling == PIXELS:
        return np.require(rows, requirements=["C", "W"]).reshape(-1, *shape)  # torch warns about read-only arrays
    scaled = (rows.astype(np.float64) - scaling.offset) / scaling.span
    return scaled.clip(0, 1).astype(np.float32).reshape(-1, *shape)


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn images of `to_images` into uint8, which exported classifiers take."""
    return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)


def from_images(images: NDArray[np.float32], scaling: FeatureScaling) -> Rows:
    """Turn images float32 [n, C, H, W] in [0, 1] into rows [n, F]; uint8 if the scaling is that of pixels."""
    rows = images.reshape(len(images), -1)
    if scaling == PIXELS:
        return to_uint8(rows)
    unscaled: Rows = rows.astype(np.float64) * scaling.span + scaling.offset
    return unscaled


def image_shape_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (C, H, W) of a sample [F], [H, W] or [C, H, W]; a row of F numbers is a picture one pixel high.

    Raises:
        ValueError: the sample has more axes, or is empty.
    """
    if len(shape) > 3 or math.prod(shape) == 0:
        raise ValueError(f"X holds arrays {shape}; expected features [n, F], or images [n, H, W] or [n, C, H, W]")
    c, h, w = (1,) * (3 - len(shape)) + shape
    return c, h, w
