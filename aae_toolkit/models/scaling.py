"""Between a user's arrays and the pixels that networks take; numpy alone, so that deployed classifiers can use it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.models.description import FeatureScaling

Rows = NDArray[Any]
PIXELS = FeatureScaling(offset=(0.0,), span=(255.0,))  # of uint8


def fit_scaling(rows: Rows, *, images: bool) -> FeatureScaling:
    """The scaling under which `rows` [n, F] fill [0, 1]: uint8 is 0-255, images have one range, else each feature one.

    A feature that is always the same has a span of 1.
    """
    if rows.dtype == np.uint8:
        return PIXELS
    axis = None if images else 0
    low = np.atleast_1d(rows.min(axis=axis)).astype(np.float64)
    span = np.atleast_1d(rows.max(axis=axis)).astype(np.float64) - low
    span[span == 0] = 1
    return FeatureScaling(offset=tuple(low.tolist()), span=tuple(span.tolist()))


def to_images(rows: Rows, scaling: FeatureScaling, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Rows [n, F] as images [n, C, H, W]: uint8 where they are pixels already, else float32 in [0, 1]."""
    if rows.dtype == np.uint8 and scaling == PIXELS:
        return np.require(rows, requirements=["C", "W"]).reshape(-1, *shape)  # torch warns of what is read-only
    scaled = (rows.astype(np.float64) - scaling.offset) / scaling.span
    return scaled.clip(0, 1).astype(np.float32).reshape(-1, *shape)


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images of `to_images` as what an exported classifier takes."""
    return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)


def from_images(images: NDArray[np.float32], scaling: FeatureScaling) -> Rows:
    """Images float32 [n, C, H, W] in [0, 1] as rows [n, F]; uint8 where pixels were."""
    rows = images.reshape(len(images), -1)
    if scaling == PIXELS:
        return to_uint8(rows)
    unscaled: Rows = rows.astype(np.float64) * scaling.span + scaling.offset
    return unscaled


def image_shape_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of one of X: [F], [H, W] or [C, H, W]; rows of F numbers are pictures one pixel high.

    Raises:
        ValueError: more axes than these.
    """
    if len(shape) > 3 or math.prod(shape) == 0:
        raise ValueError(f"X holds arrays {shape}; expected features [n, F], or images [n, H, W] or [n, C, H, W]")
    c, h, w = (1,) * (3 - len(shape)) + shape
    return c, h, w
