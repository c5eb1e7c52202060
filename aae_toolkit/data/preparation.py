"""Preparation: how an image file becomes the pixels that a network sees; needs neither numpy nor pillow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

Invert = Literal["auto", "yes", "no"]
InvertChoice = Literal["as-trained", "auto", "yes", "no"]  # where a model runs
Fit = Literal["squash", "pad", "crop"]

_MOST = 2**53  # whole numbers below are exact as floating-point numbers

_KEYS = frozenset({"orientation", "background", "range", "invert", "fit", "resampling"})


@dataclass(frozen=True)
class Preparation:
    """Preparation of image files, decided once by `aae init-datasets` and obeyed wherever the model runs.

    An image is turned upright, drawn on the background where it is transparent, scaled to 8 bits, converted to grey or
    RGB, fitted and resized to the model's height and width, and inverted, in this order.

    Attributes:
        orientation: `exif`, turned upright by its EXIF data.
        background: red, green and blue in 0-255 that transparent pixels are drawn on, and that `pad` fills with.
        range: lowest and highest value of images with more than 8 bits per channel, which become 0 and 255. Values
            outside are clipped. None is 0-65535 for 16 bits; signed and 32-bit integers and floating-point numbers then
            have no range, and are refused. Images with 8 bits are not scaled.
        invert: `yes` inverts brightness, `auto` inverts images with a light border, `no` inverts nothing.
        fit: `squash` changes the aspect ratio, `pad` adds background on two sides, `crop` cuts off two sides.
        resampling: `bilinear`, with antialiasing when shrinking.
    """

    orientation: Literal["exif"] = "exif"
    background: tuple[int, int, int] = (255, 255, 255)
    range: tuple[int | float, int | float] | None = None
    invert: Invert = "no"
    fit: Fit = "squash"
    resampling: Literal["bilinear"] = "bilinear"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # in dataset.json and model.json

    def __post_init__(self) -> None:
        """Raise `ValueError` for values that no version of this tool wrote."""
        if self.orientation != "exif" or self.resampling != "bilinear":
            raise ValueError(f"orientation {self.orientation!r} with resampling {self.resampling!r} is not known here")
        if self.invert not in get_args(Invert) or self.fit not in get_args(Fit):
            raise ValueError(f"invert {self.invert!r} with fit {self.fit!r} is not known here")
        if len(self.background) != 3 or not all(_is_level(v) for v in self.background):
            raise ValueError("background is not three whole numbers in 0-255")
        if self.range is not None:
            if len(self.range) != 2 or not all(_is_number(v) for v in self.range):
                raise ValueError(f"range is not two numbers between -{_MOST} and {_MOST}")
            if self.range[0] >= self.range[1]:
                raise ValueError(
                    f"range {self.range[0]:g},{self.range[1]:g} has no values; its second number is the higher"
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
        try:
            return cls(**values)
        except TypeError as error:  # a number where a list has to be
            raise ValueError(str(error)) from error

    def differences(self, other: Preparation) -> str:
        """Describe the fields in which another preparation differs; empty where it is the same."""
        own, others = asdict(self), asdict(other)
        return ", ".join(f"{key} {others[key]} instead of {own[key]}" for key in own if own[key] != others[key])

    def in_words(self) -> str:
        """Describe the preparation in one line."""
        scaled = "0-65535" if self.range is None else f"{self.range[0]:.10g}-{self.range[1]:.10g}"
        inverted = {"no": "not inverted", "yes": "inverted", "auto": "inverted where the border is light"}
        fitted = {
            "squash": "resized without keeping the aspect ratio",
            "pad": "resized with the background on two sides",
            "crop": "cut to the aspect ratio and resized",
        }
        return (
            f"turned upright by EXIF; transparency on {colour_name(self.background)}; more than 8 bits per channel"
            f" scaled from {scaled}; {fitted[self.fit]} ({self.resampling}); {inverted[self.invert]}"
        )


class Placement(NamedTuple):
    """Place of an image in the pixels that the network sees; all in pixels.

    Attributes:
        box: left, top, right and bottom of the part of the image that is used.
        size: width and height that this part is resized to.
        corner: left and top of the resized part.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    corner: tuple[int, int]


def place(fit: Fit, size: tuple[int, int], target: tuple[int, int]) -> Placement:
    """Return where an image goes; a side that follows from the aspect ratio is rounded, and at least 1.

    Args:
        fit: how the image is fitted.
        size: width and height of the image.
        target: width and height of the model's input.
    """
    (w, h), (to_w, to_h) = size, target
    wider = w * to_h > h * to_w  # than the model's input
    if fit == "pad":
        inner = (to_w, _rounded(h * to_w, w)) if wider else (_rounded(w * to_h, h), to_h)
        return Placement((0, 0, w, h), inner, ((to_w - inner[0]) // 2, (to_h - inner[1]) // 2))
    used = size
    if fit == "crop":
        used = (_rounded(h * to_w, to_h), h) if wider else (w, _rounded(w * to_h, to_w))
    left, top = (w - used[0]) // 2, (h - used[1]) // 2
    return Placement((left, top, left + used[0], top + used[1]), target, (0, 0))


def colour_name(colour: tuple[int, int, int]) -> str:
    """Return `white`, `black` or `#rrggbb`."""
    code = "#{:02x}{:02x}{:02x}".format(*colour)
    return {"#ffffff": "white", "#000000": "black"}.get(code, code)


def _rounded(numerator: int, denominator: int) -> int:
    """Divide and round, half up; at least 1."""
    return max(1, (2 * numerator + denominator) // (2 * denominator))


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST


DEFAULT = Preparation()  # of data sets that are no image files, and of older ones
