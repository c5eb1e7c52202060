"""Brightness of images' borders, which tells light shapes on dark ground from dark ones on light; needs only numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DARK, _LIGHT = 64, 191  # usual borders between dark and light follow no convention
# A single border beyond is noted. Of MNIST, Fashion-MNIST and scikit-learn's digits no image has such a border, and all
# have one when inverted; stricter limits missed 4% of the inverted digits.
_OWN_DARK, _OWN_LIGHT = 111, 144


def border_brightness(images: NDArray[np.uint8]) -> float:
    """Return the mean of the border pixels of images [..., H, W], in 0-255; tells light on dark from dark on light."""
    return float(_border(images).mean())


def _border(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the border pixels of images [..., H, W], [..., number of pixels]."""
    inner = np.zeros(images.shape[-2:], dtype=bool)
    inner[1:-1, 1:-1] = True
    return images[..., ~inner]


def is_opposite(border: float, usual: float | None) -> bool:
    """Whether a border is light although the usual one is dark, or the reverse."""
    if usual is None or _DARK < usual < _LIGHT:
        return False
    return abs(255 - border - usual) < abs(border - usual)


def opposite_border(pixels: NDArray[np.uint8], usual: float | None) -> str | None:
    """Return words on a border of pixels [C, H, W] that is dark where the usual one is light, or the reverse."""
    if usual is None or not _is_far(border_brightness(pixels), usual):
        return None
    own, others = _words(usual)
    return f"its border is {own}, those of the training images are {others}"


def opposite_borders(images: NDArray[np.uint8], usual: float | None) -> str | None:
    """Return words on those of the images [N, C, H, W] that `opposite_border` has words on; None if there are none."""
    n = 0 if usual is None else int(np.sum(_is_far(_border(images).mean(axis=(1, 2)), usual)))
    if usual is None or not n:
        return None
    own, others = _words(usual)
    return f"the borders of {n} of {len(images)} images are {own}, those of the training images are {others}"


def _is_far(border: Any, usual: float) -> Any:
    """Whether a border, or each of an array of them, is surely light where the usual one is dark, or the reverse."""
    return (border > _OWN_LIGHT) & (usual <= _DARK) | (border < _OWN_DARK) & (usual >= _LIGHT)


def _words(usual: float) -> tuple[str, str]:
    return ("light", "dark") if usual <= _DARK else ("dark", "light")
