"""Image file to model input; needs only numpy and pillow, for `aae predict`."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from aae_toolkit.data.borders import border_brightness, is_opposite, opposite_border
from aae_toolkit.data.depth import depth_of, to_8_bits
from aae_toolkit.data.formats import HEAD_BYTES, NAMES, has_heif, kind_of, unread
from aae_toolkit.data.preparation import DEFAULT, Preparation, place
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 2**26  # 8192 x 8192: conversion takes about 1 GiB with transparency

# Common formats only: pillow runs an interpreter for PostScript, and rare formats have seen little security review.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
_GREY = frozenset({"1", "L", "LA", "I", "I;16"})
_MODES = {1: "L", 3: "RGB"}
_MIDDLE = 127.5  # brightness between dark and light
_SAMPLED = 32  # rows and columns that a mean colour is taken from
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # TIFF tags

Image.preinit()  # import the usual formats now, not at the first image

# Pillow warns above its own limit, where this module refuses at a lower one, and of damaged EXIF data.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class NotedImage(NamedTuple):
    """Image, uint8 [C, H, W] in 0-255, with notes on unexpected changes such as `inverted`.

    `colour` is its mean red, green and blue in 0-255 before a conversion to grey, where `read_noted` was asked for it
    and the image has colours.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    colour: tuple[float, ...] | None = None


def read_image(
    path: Path | BinaryIO, shape: tuple[int, int, int], preparation: Preparation = DEFAULT
) -> NDArray[np.uint8]:
    """Read an image file as `read_noted` does; return only the pixels, uint8 [C, H, W] in 0-255."""
    return read_noted(path, shape, preparation).pixels


def read_noted(
    path: Path | BinaryIO,
    shape: tuple[int, int, int],
    preparation: Preparation = DEFAULT,
    *,
    border: float | None = None,
    match_border: bool = False,
    sample_colour: bool = False,
) -> NotedImage:
    """Read an image file and prepare it for a network.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP, TIFF, PPM or AVIF file, with any suffix, HEIC with pillow-heif; or a stream of
            its content.
        shape: (C, H, W) in pixels; C is 1 (grey) or 3 (RGB).
        preparation: preparation of the image.
        border: `border_brightness` of the training images, 0-255; None if unknown. An opposite border is noted.
        match_border: whatever `preparation` says, invert the image if that brings its border closer to `border`;
            nothing if that is unknown, or neither dark nor light.
        sample_colour: also return the mean colour, of a sample of the pixels.

    Raises:
        AaeError: `path` is absent, not a file, damaged, too large or not an image, or C is neither 1 nor 3.
    """
    channels, height, width = shape
    if channels not in _MODES:
        raise AaeError(f"image files give 1 or 3 channels; this model takes {channels}")
    with opened_image(path, (width, height)) as opened:
        notes = ["first picture of several"] if getattr(opened, "is_animated", False) else []
        upright, said = _upright(opened, preparation, path)
        colour = _mean_colour(upright) if sample_colour else None
        mode = _MODES[channels]
        flat = upright if upright.mode == mode else upright.convert(mode)  # else it copies
    fitted, corner = _fitted(flat, preparation, (width, height))
    own_border = border_brightness(_planes(fitted)) if match_border or preparation.invert == "auto" else 0.0
    if fitted.size != (width, height):
        padded = Image.new("RGB", (width, height), preparation.background).convert(fitted.mode)
        padded.paste(fitted, corner)
        fitted = padded
    pixels = _planes(fitted)
    as_prepared = preparation.invert == "yes" or own_border > _MIDDLE
    invert = is_opposite(own_border, border) if match_border else as_prepared
    pixels = 255 - pixels if invert else pixels
    notes += [*said, *(["inverted"] if invert else [])]
    if doubt := opposite_border(pixels, border):
        notes.append(f"{doubt}; invert=auto would invert it")
    return NotedImage(pixels, tuple(notes), colour)


@contextmanager
def opened_image(path: Path | BinaryIO, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Open an image file; errors within the context, such as those of decoding, become `AaeError` as well.

    Args:
        path: see `read_noted`.
        size: width and height, in pixels, at which the image is needed.

    Raises:
        AaeError: `path` is absent, not a file, damaged, too large or not an image.
    """
    try:
        with _content(path) as file, _open(file, path, size) as opened:
            yield opened
    except FileNotFoundError as error:
        raise AaeError(f"{path}: no such file") from error
    except PermissionError as error:
        raise AaeError(f"{path}: may not be read ({error.strerror})") from error
    except UnidentifiedImageError as error:
        raise AaeError(f"{path}: not an image that can be read; give {NAMES}") from error
    except AaeError:
        raise
    except Exception as error:  # pillow's decoders raise any type on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise AaeError(f"{path}: cannot be read ({error.strerror})") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AaeError(f"{path}: damaged image ({reason[:200]})") from error


def _fitted(
    image: Image.Image, preparation: Preparation, target: tuple[int, int]
) -> tuple[Image.Image, tuple[int, int]]:
    """Cut and resize an image to at most `target` (width, height); return it with its left top corner there."""
    if image.size == target:
        return image, (0, 0)
    box, size, corner = place(preparation.fit, image.size, target)
    cut = image if box == (0, 0, *image.size) else image.crop(box)
    return cut.resize(size, Image.Resampling.BILINEAR), corner  # with antialiasing when shrinking


def _planes(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a grey or RGB image, [C, H, W]."""
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _content(path: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if not isinstance(path, Path):
        return nullcontext(path)
    if not stat.S_ISREG(path.stat().st_mode):  # reading from a pipe or a device may block forever
        raise AaeError(f"{path}: a directory, pipe or device, not an image file")
    return path.open("rb")


def _open(file: BinaryIO, path: Path | BinaryIO, size: tuple[int, int]) -> Image.Image:
    """Open an image without decoding it; refuse too many pixels, but decode large JPEG files at a reduced size."""
    opened: Image.Image
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind = kind_of(head, path.suffix.lower() if isinstance(path, Path) else "")
    if kind is not None and (reason := unread(kind)) is not None:
        raise AaeError(f"{path}: {reason}")
    try:
        opened = Image.open(file, formats=_formats(kind, path))
    except Image.DecompressionBombError:
        file.seek(0)
        try:
            opened = JpegImageFile(file)
        except SyntaxError:  # pillow's error for another format
            raise AaeError(f"{path}: too many pixels; scale it down to {MAX_PIXELS / 1e6:.0f} million") from None
    except UnidentifiedImageError:
        if not head:
            raise AaeError(f"{path}: an empty file") from None
        if kind is None:
            raise
        raise AaeError(f"{path}: {kind}, damaged or of a variant that is not read; convert it to PNG") from None
    if opened.format == "TIFF":
        _refuse_preview(opened, path)
    full = opened.size
    # a progressive JPEG is decoded in memory at full size, whatever the reduced size
    if opened.width * opened.height > MAX_PIXELS and "progressive" not in opened.info:
        opened.draft(None, (2 * size[0], 2 * size[1]))  # affects JPEG only
    if opened.width * opened.height > MAX_PIXELS:
        opened.close()
        raise AaeError(
            f"{path}: {full[0]} x {full[1]} pixels are too many; scale it down to {MAX_PIXELS / 1e6:.0f} million"
        )
    return opened


def _formats(kind: str | None, path: Path | BinaryIO) -> tuple[str, ...]:
    """Return pillow's names of the formats to try, and import what reads them, which the first such image needs."""
    if kind == "AVIF":
        try:
            from PIL import AvifImagePlugin  # registers itself
        except ImportError:
            AvifImagePlugin = None  # type: ignore[assignment]  # noqa: N806
        if AvifImagePlugin is None or not AvifImagePlugin.SUPPORTED:
            raise AaeError(
                f"{path}: AVIF is not read by this pillow; upgrade it to 11.3 or newer, or convert it to PNG"
            )
    if kind == "HEIC" and has_heif():
        from pillow_heif import register_heif_opener

        register_heif_opener()
        return ("HEIF",)
    return _FORMATS if kind == "AVIF" else _FORMATS[:-1]


def _refuse_preview(opened: Image.Image, path: Path | BinaryIO) -> None:
    """Refuse a TIFF file whose first picture is a reduced copy, as in raw files of cameras with another suffix."""
    tags = getattr(opened, "tag_v2", {})
    if tags.get(_NEW_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in tags:
        raise AaeError(f"{path}: its first picture is a reduced copy, as in camera raw; convert it to PNG")


def _mean_colour(image: Image.Image) -> tuple[float, ...] | None:
    """Return the mean red, green and blue, 0-255, of evenly spaced pixels: all would take as long as decoding."""
    if image.mode in _GREY:
        return None
    sampled = image if max(image.size) <= _SAMPLED else image.resize((_SAMPLED, _SAMPLED), Image.Resampling.NEAREST)
    coloured = sampled if sampled.mode == "RGB" else sampled.convert("RGB")
    mean = coloured.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return mean if isinstance(mean, tuple) else None


def _upright(opened: Image.Image, preparation: Preparation, path: Path | BinaryIO) -> tuple[Image.Image, list[str]]:
    """Return the image upright, opaque, with 8 bits per channel; and notes."""
    depth, notes = depth_of(opened), list[str]()
    ImageOps.exif_transpose(opened, in_place=True)  # else it copies each image that is upright
    upright = opened
    if depth is not None:
        upright, notes = to_8_bits(upright, depth, preparation.range, path)
    if upright.has_transparency_data:
        drawn = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", drawn.size, preparation.background), drawn)
    return upright, notes
