"""One image file to the array a model takes; numpy and pillow only, so that `aae predict` can use it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from aae_toolkit.errors import AaeError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
_MODES = {1: "L", 3: "RGB"}


def read_image(path: Path | BinaryIO, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read an image file: upright, grey or RGB, resized (aspect ratio not kept) to `shape`.

    Args:
        path: a file that pillow can read, or its open content.
        shape: (C, H, W) in pixels, C being 1 (grey) or 3 (RGB).

    Returns:
        uint8 [C, H, W], 0-255.

    Raises:
        AaeError: the file is absent, damaged or not an image, or C is neither 1 nor 3.
    """
    channels, height, width = shape
    if channels not in _MODES:
        raise AaeError(f"image files give 1 or 3 channels; this model takes {channels}")
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode == "F":
                raise AaeError(
                    f"{path}: its pixels are floating-point numbers, whose range is unknown; give 8 or 16 bits"
                )
            if upright.mode.startswith("I"):  # up to 32 bits a pixel, which convert() would clip at 255
                pixels = np.asarray(upright)
                shift = 8 if upright.mode.startswith("I;16") or pixels.max() > 255 else 0
                upright = Image.fromarray((pixels >> shift).clip(0, 255).astype(np.uint8))
            if upright.has_transparency_data:  # what is see-through is drawn on white, as viewers show it
                drawn = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
            upright = upright.convert(_MODES[channels])
    except FileNotFoundError as error:
        raise AaeError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise AaeError(f"{path}: not an image that can be read") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AaeError(f"{path}: damaged image ({error})") from error
    if upright.size != (width, height):
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)  # antialiases when it shrinks
    return np.asarray(upright, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
