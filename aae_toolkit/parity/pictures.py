"""Image files of every kind that people have, made from images of a split and from a drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_N_IMAGES = 3  # of the split, in the files of the first kinds
_ORIENTATION = 0x0112  # tag of EXIF
_TURNS = range(1, 9)
_LARGE, _WIDE, _TALL = (2000, 1400), (1200, 3), (3, 1200)


class Picture(NamedTuple):
    """Image file of a kind, such as `palette`."""

    path: Path
    kind: str


def write_pictures(directory: Path, images: NDArray[np.uint8]) -> list[Picture]:
    """Write image files, the same at every call; most are larger than the images, and none has their proportions.

    Args:
        directory: directory to write to.
        images: uint8 [N, C, H, W] with C of 1 or 3; a few of them are drawn on.
    """
    rng = np.random.default_rng(0)
    chosen = images[rng.choice(len(images), min(_N_IMAGES, len(images)), replace=False)]
    photos = [_enlarged(image, rng) for image in chosen]
    photo, drawing = photos[0], _drawing((90, 61))
    pictures: list[Picture] = []

    def save(kind: str, image: Image.Image, suffix: str = "png", **options: Any) -> None:
        path = directory / f"{len(pictures):02}-{kind}.{suffix}"
        image.save(path, **options)
        pictures.append(Picture(path, kind))

    for image in (*photos, drawing):
        save("png", image)
        save("grey", image.convert("L"))
        save("jpeg", image, "jpg", quality=90)
    for turn in _TURNS:
        exif = Image.Exif()
        exif[_ORIENTATION] = turn
        save("turned", drawing, "jpg", exif=exif, quality=90)
    save("turned-png", photo, exif=exif)
    for kind, make in _KINDS.items():
        save(kind, make(photo))
        save(kind, make(drawing))
    for image in (photo, drawing):
        save("cmyk", image.convert("CMYK"), "jpg", quality=90)
    for size in ((1, 1), (2, 3), _WIDE, _TALL):
        save("tiny" if max(size) < max(_WIDE) else "long", drawing.resize(size))
    save("large", drawing.resize(_LARGE), "jpg", quality=90)
    return pictures


def _enlarged(image: NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Return an image [C, H, W] in RGB, two to four times as large."""
    rgb = Image.fromarray(image.transpose(1, 2, 0).repeat(3 // len(image), axis=2))
    width, height = (int(side * rng.uniform(2, 4)) + 1 for side in rgb.size)
    return rgb.resize((width, height), Image.Resampling.BICUBIC)


def _drawing(size: tuple[int, int]) -> Image.Image:
    """Draw coloured waves with sharp edges, unlike themselves when turned or mirrored."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = [np.sin(9 * x + 4 * y), np.sin(3 * x * x + 14 * y), np.cos(5 * x - 8 * y * y)]
    values = np.stack(waves, axis=-1) * 127 + 128
    values[(x > 0.6) & (y < 0.3)] = (250, 240, 10)
    return Image.fromarray(values.astype(np.uint8))


def _transparent(image: Image.Image) -> Image.Image:
    """Make an image transparent from the left, in every degree."""
    alpha = np.linspace(0, 255, image.width).round().astype(np.uint8)
    drawn = image.convert("RGBA")
    drawn.putalpha(Image.fromarray(np.broadcast_to(alpha, (image.height, image.width))))
    return drawn


def _palette(image: Image.Image, *, transparent: bool = False) -> Image.Image:
    colours = image.quantize(32)
    if transparent:
        colours.info["transparency"] = 5  # the number of a colour
    return colours


def _deep(image: Image.Image) -> Image.Image:
    """Give an image 16 bits in grey."""
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


_KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "transparent": _transparent,
    "transparent-grey": lambda image: _transparent(image).convert("LA"),
    "palette": _palette,
    "transparent-palette": lambda image: _palette(image, transparent=True),
    "black-white": lambda image: image.convert("1"),
    "16-bit": _deep,
}
