"""Named sets of augmentation strengths, keys of section `consistency`."""

from __future__ import annotations

from typing import Any

_OFF: dict[str, Any] = {
    "augmentation": 0.0,
    "elastic": 0.0,
    "horizontal_flip": False,
    "vertical_flip": False,
    "quarter_turns": False,
    "crop": 0.0,
    "reflect": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "erasing": 0.0,
}

AUGMENTATION_SETS: dict[str, dict[str, Any]] = {
    # Handwriting, line drawings and other strokes: bent and slanted, never mirrored, and no stroke is cut.
    "drawings": _OFF | {"augmentation": 1.2, "elastic": 0.04},
    # Photographs: mirrored, cropped, in another light, partly hidden.
    "photos": _OFF
    | {
        "augmentation": 0.5,
        "horizontal_flip": True,
        "crop": 0.2,
        "reflect": True,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "erasing": 0.5,
    },
    # Aerial and microscope images, which have no upper side.
    "top-down": _OFF
    | {
        "augmentation": 0.5,
        "horizontal_flip": True,
        "vertical_flip": True,
        "quarter_turns": True,
        "reflect": True,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
    },
    # Images of a few pixels.
    "tiny": _OFF | {"augmentation": 0.5},
    "none": _OFF,
}
