"""Preparation: how an image file becomes the pixels that a network sees; needs neither numpy nor pillow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Invert = Literal["auto", "yes", "no"]
Fit = Literal["squash", "pad", "crop"]

_MOST = 2**32 - 1
_KEYS = frozenset({"orientation", "background", "range", "invert", "fit", "resampling"})


@dataclass(frozen=True)
class Preparation:
    """Preparation of image files, decided once by `aae init-datasets` and obeyed wherever the model runs.

    An image is turned upright, drawn on the background where it is transparent, scaled to 8 bits, converted to grey or
    RGB, fitted and resized to the model's height and width, and inverted, in this order.

    Attributes:
        orientation: `exif`, turned upright by its EXIF data.
        background: red, green and blue in 0-255 that transparent pixels are drawn on, and that `pad` fills with.
        range: lowest and highest value of images with more than 8 bits per channel, which become 0 and 255; None is
            the full range of their type. Values outside are clipped. Images with 8 bits are not scaled.
        invert: `yes` inverts brightness, `auto` inverts images with a light border, `no` inverts nothing.
        fit: `squash` changes the aspect ratio, `pad` adds background on two sides, `crop` cuts off two sides.
        resampling: `bilinear`, with antialiasing when shrinking.
    """

    orientation: Literal["exif"] = "exif"
    background: tuple[int, int, int] = (255, 255, 255)
    range: tuple[int, int] | None = None
    invert: Invert = "no"
    fit: Fit = "squash"
    resampling: Literal["bilinear"] = "bilinear"

    def __post_init__(self) -> None:
        """Raise `ValueError` for values that no version of this tool wrote."""
        if self.orientation != "exif" or self.resampling != "bilinear":
            raise ValueError(f"orientation {self.orientation!r} with resampling {self.resampling!r} is not known here")
        if self.invert not in get_args(Invert) or self.fit not in get_args(Fit):
            raise ValueError(f"invert {self.invert!r} with fit {self.fit!r} is not known here")
        if len(self.background) != 3 or not all(_is_whole(v, 255) for v in self.background):
            raise ValueError("background is not three whole numbers in 0-255")
        if self.range is not None:
            if len(self.range) != 2 or not all(_is_whole(v, _MOST) for v in self.range):
                raise ValueError(f"range is not two whole numbers in 0-{_MOST}")
            if self.range[0] >= self.range[1]:
                raise ValueError(
                    f"range {self.range[0]},{self.range[1]} has no values; its second number is the higher"
                )

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is damaged, or holds what this version does not know.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or not set(content) <= _KEYS:
            raise ValueError("not a preparation, or one of a newer version")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return cls(**values)


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
