"""Scaling between a user's arrays and the pixels that networks take, in numpy alone for deployed classifiers.

Arrays of another form are refused, and values of another scale too, with a warning where that is not certain.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.models.description import FeatureScaling

Rows = NDArray[Any]
PIXELS = FeatureScaling(offset=(0.0,), span=(255.0,))  # scaling of uint8
_CHANNELS = (1, 3, 4)  # of usual images
_NARROW = 0.01  # part of the range in `fit` below which values may be of another scale, as 0-1 for 0-255
_MAX_SIDE = 2**16  # pixels or features that networks take side by side


def fit_scaling(rows: Rows, *, images: bool) -> FeatureScaling:
    """Fit the scaling under which `rows` [n, F] fill [0, 1].

    The range of uint8 is 0-255, images share one range, and else each feature has its own. A constant feature has a
    span of 1.

    Raises:
        ValueError: a range exceeds float64.
    """
    if rows.dtype == np.uint8:
        return PIXELS
    axis = None if images else 0
    low = np.atleast_1d(rows.min(axis=axis)).astype(np.float64)
    with np.errstate(over="ignore"):
        span = np.atleast_1d(rows.max(axis=axis)).astype(np.float64) - low
    if not np.isfinite(span).all():
        raise ValueError("X spans more than float64 can hold; divide it by a constant")
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
        ValueError: the sample has more axes, is empty, or is too large.
    """
    if len(shape) > 3 or math.prod(shape) == 0:
        raise ValueError(f"X holds arrays {shape}; expected features [n, F], or images [n, H, W] or [n, C, H, W]")
    c, h, w = (1,) * (3 - len(shape)) + shape
    if max(c, h, w) > _MAX_SIDE:
        raise ValueError(f"X holds arrays {shape}; at most {_MAX_SIDE} features, channels, rows or columns are taken")
    if len(shape) == 3 and w in _CHANNELS and c not in _CHANNELS:
        _warn(f"X holds arrays {shape}, read as {c} channels of {h} x {w} pixels; expected [n, C, H, W]")
    return c, h, w


def require_numbers(given: Any) -> None:
    """Check that no value of X would be read as another: masked ones, dates, and those of sparse matrices.

    Raises:
        ValueError: X is masked or sparse, or holds dates or times.
    """
    if np.ma.is_masked(given):
        raise ValueError("X has masked values, which are missing; fill them in, or leave their samples out")
    if hasattr(given, "toarray"):
        raise ValueError("Sparse data was passed for X, but dense data is required; give X.toarray()")
    dtypes = given.dtypes if hasattr(given, "columns") and hasattr(given, "dtypes") else [getattr(given, "dtype", None)]
    for dtype in dtypes:
        if getattr(dtype, "kind", "") in ("m", "M"):
            raise ValueError(f"X is {dtype}; dates and times are no numbers: give what matters of them, such as days")


def require_form(shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> None:
    """Check the shape of samples: [n, C, H, W], [n, H, W] of one channel, or rows [n, C*H*W] in that order.

    Raises:
        ValueError: it is another one, such as [n, H, W, C].
    """
    c, h, w = image_shape
    forms = {image_shape, (c * h * w,)} | ({(h, w)} if c == 1 else set())
    if len(shape) > 1 and shape[0] > 0 and shape[1:] in forms:
        return
    hint = ""
    if shape[:1] == (0,):
        hint = "; it has no samples"
    elif shape in forms:
        hint = "; give a single sample as X[None]"
    elif shape[1:] == (h, w, c):
        hint = "; its axes are [n, H, W, C], so give X.transpose(0, 3, 1, 2)"
    elif shape[1:] in {(*form[:-2], w, h) for form in forms if len(form) > 1}:
        hint = "; rows and columns are swapped, so give X.swapaxes(-1, -2)"
    raise ValueError(f"X has shape {shape}; expected [n, {c}, {h}, {w}] or rows [n, {c * h * w}]{hint}")


def require_scale(rows: Rows, scaling: FeatureScaling, given: Any) -> None:
    """Warn where values seem to be of another scale than in `fit`.

    Args:
        rows: finite samples [n, F].
        scaling: scaling of the samples in `fit`.
        given: the samples as they were given.

    Raises:
        ValueError: the values cannot be pixels, though `scaling` is that of pixels.
    """
    low, high = float(rows.min()), float(rows.max())
    if scaling == PIXELS:
        if low < 0 or high > 255:
            raise ValueError(f"X holds values from {low:g} to {high:g}; expected pixels from 0 to 255")
        if high > 1:
            return
        dtype = np.asarray(given).dtype
        if dtype.kind == "b" or (rows != np.floor(rows)).any():
            raise ValueError(
                f"X is {dtype} from {low:g} to {high:g}; expected pixels from 0 to 255: multiply it by 255"
            )
        _warn(f"X holds no value above {high:g}, and pixels are 0 to 255; if it is 0 to 1, multiply it by 255")
        return
    offset, span = np.array(scaling.offset), np.array(scaling.span)
    if len(span) == 1:  # all pixels share one range
        first, last = (low - offset[0]) / span[0], (high - offset[0]) / span[0]
        if first < -1 or last > 2 or 0 < last - first < _NARROW:
            _warn(f"X holds values from {low:g} to {high:g}, in fit {_range(scaling, 0)}; is it of the same scale?")
        return
    means = (rows.mean(axis=0, dtype=np.float64) - offset) / span
    far = np.flatnonzero((means < -1) | (means > 2))
    if len(far):
        mean = rows[:, far[0]].mean(dtype=np.float64)
        _warn(
            f"{len(far)} of {len(span)} features of X lie far outside of their range in fit and are clipped: feature"
            f" {far[0]} has a mean of {mean:g}, in fit {_range(scaling, far[0])}; is it of the same scale?"
        )
        return
    spread = float(((rows.max(axis=0).astype(np.float64) - rows.min(axis=0)) / span).max())
    if 0 < spread < _NARROW:
        _warn(f"each feature of X spans at most {spread:.2%} of its range in fit; is it of the same scale?")


def _range(scaling: FeatureScaling, feature: int) -> str:
    return f"{scaling.offset[feature]:g} to {scaling.offset[feature] + scaling.span[feature]:g}"


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=6)  # of the caller of `predict`
