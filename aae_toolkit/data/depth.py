"""Images with more than 8 bits per channel, and their scaling to 8 bits; needs only numpy and pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_SIGNED = 2  # value of the last
_MOST = 65535
_UNSIGNED_32 = "32-bit numbers"
_MANY = 0.01  # share of values outside of the range that is noted
_SMALL = 4  # parts of the range, of which an image that uses one or less is noted

ADVICE = "aae init-datasets takes it with --range LO,HI"


@dataclass(frozen=True)
class Depth:
    """Type of the values of an image with more than 8 bits per channel.

    Attributes:
        name: its name, for messages.
        most: highest value that the file can hold; None where 0 and white are not known.
        in_colour: whether it has several channels, of which pillow gives the upper 8 bits.
        zero_is_white: whether the lowest value is white.
    """

    name: str
    most: int | None = None
    in_colour: bool = False
    zero_is_white: bool = False


def depth_of(opened: Image.Image) -> Depth | None:
    """Return the type of an image's values as its file has them; None for 8 bits or fewer.

    Args:
        opened: image as pillow opened it, which need not be decoded.
    """
    mode = opened.mode
    is_wide = mode.startswith("I")
    if opened.format == "PNG":
        raw = _decoder_arguments(opened)
        deep = is_wide or (isinstance(raw, str) and raw.endswith(";16B"))
        return Depth("16-bit numbers", _MOST, in_colour=not is_wide) if deep else None
    if mode == "F":
        return Depth("floating-point numbers")
    if opened.format == "PPM":
        most = _ppm_most(opened)
        return None if most < 256 else Depth(f"{most.bit_length()}-bit numbers", most, in_colour=not is_wide)
    if opened.format == "TIFF":
        return _tiff_depth(opened, is_wide)
    if mode == "I":
        return Depth("whole numbers")
    return Depth("16-bit numbers", _MOST) if is_wide else None


def _tiff_depth(opened: Image.Image, is_wide: bool) -> Depth | None:
    tags = getattr(opened, "tag_v2", {})
    bits, kind = max(tags.get(_BITS, (1,))), tags.get(_SAMPLE_FORMAT, (1,))[0]
    if kind == _SIGNED and bits >= 8:
        return Depth(f"signed {bits}-bit numbers")
    if is_wide:
        zero_is_white = tags.get(_PHOTOMETRIC) == 0
        return Depth(f"{bits}-bit numbers", None if bits > 16 else 2**bits - 1, zero_is_white=zero_is_white)
    return Depth(f"{bits}-bit numbers", _MOST, in_colour=True) if bits > 8 else None


def _decoder_arguments(opened: Image.Image) -> Any:
    """Return what pillow's plugin passes to its decoder; None where it passes nothing."""
    tiles = getattr(opened, "tile", None)
    return tiles[0][3] if tiles else None


def _ppm_most(opened: Image.Image) -> int:
    """Return the highest value that a PGM or PPM file declares."""
    arguments = _decoder_arguments(opened)
    if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[1], int):
        return arguments[1]
    return _MOST if opened.mode == "I" else 255


def values_of(image: Image.Image, depth: Depth) -> NDArray[Any]:
    """Return the values of a decoded image as its file has them, [H, W]; of colour, the upper 8 bits [H, W, C]."""
    if depth.in_colour:
        opaque = image.convert("RGB") if image.mode == "RGBA" else image
        return np.asarray(opaque)
    values = np.asarray(image)
    if depth.most is not None:  # at most 16 bits
        if image.mode == "I" and depth.most < _MOST:  # pillow stretches the values of PGM to 65535
            values = np.rint(values * (depth.most / _MOST))
        return values.astype(np.uint16, copy=False)
    return values.view(np.uint32) if depth.name == _UNSIGNED_32 else values  # pillow has no mode for these


def to_8_bits(
    image: Image.Image, depth: Depth, limits: tuple[float, float] | None, where: object
) -> tuple[Image.Image, list[str]]:
    """Scale a decoded image to 8 bits per channel; return it with notes.

    Args:
        image: the image, upright.
        depth: type of its values.
        limits: lowest and highest value, which become 0 and 255; None is the range of 16 bits.
        where: name of the file, for messages.

    Raises:
        AaeError: its values have no range, or more than the upper 8 bits of colours are needed.
    """
    if limits is None and depth.most is None:
        raise AaeError(f"{where}: its pixels are {depth.name}, whose range is unknown; {ADVICE}")
    low, high = limits or (0, depth.most or _MOST)
    values = values_of(image, depth)
    if depth.in_colour:
        if (low, high) != (0, depth.most):
            raise AaeError(
                f"{where}: its colours are {depth.name}, of which only the upper 8 bits are read, and the range"
                f" {low:.10g}-{high:.10g} needs others; convert it to 8 bits"
            )
        return image, _notes(values, 0, 255, (low, high))
    if not np.isfinite(values).all():
        raise AaeError(f"{where}: its pixels are not all finite numbers; correct them, or convert it to 8 bits")
    scaled = _scaled(values, low, high)
    grey = Image.fromarray(255 - scaled if depth.zero_is_white else scaled)
    transparent = image.info.get("transparency")  # of a grey PNG, a value
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey, _notes(values, low, high, (low, high))


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values [H, W] so that `low` becomes 0 and `high` 255, as a shift does for whole bits."""
    if values.dtype == np.uint16 and low == int(low) and high == int(high):
        levels = _binned(np.arange(_MOST + 1), int(low), int(high))
        return levels.take(values)
    if values.dtype.kind in "iu" and low == int(low) and high == int(high):
        return _binned(values.astype(np.int64), int(low), int(high))
    linear = values.astype(np.float64)
    linear -= low
    linear *= 255 / (high - low)
    return np.rint(linear.clip(0, 255, out=linear)).astype(np.uint8)


def _binned(whole: NDArray[np.int64], low: int, high: int) -> NDArray[np.uint8]:
    """Divide the whole numbers from `low` to `high` into 256 levels of equal width; overwrites `whole`."""
    whole.clip(low, high, out=whole)
    whole -= low
    whole *= 256
    whole //= high - low + 1
    return whole.clip(0, 255).astype(np.uint8)


def _notes(values: NDArray[Any], low: float, high: float, named: tuple[float, float]) -> list[str]:
    """Return notes on values that a range does not suit; the range is `named` in them."""
    least, most = values.min(), values.max()
    name, step = f"{named[0]:.10g}-{named[1]:.10g}", 1 if values.dtype.kind in "iu" else 0
    notes = []
    if (least < low or most > high) and ((values < low) | (values > high)).mean() > _MANY:
        notes.append(f"values outside of the range {name} are clipped")
    span = min(float(most), high) - max(float(least), low) + step
    if span * _SMALL <= high - low + step:
        notes.append(f"uses at most a quarter of the range {name}")
    return notes
