"""Image files beside the arrays that a model was fitted on; this module imports neither torch nor pydantic."""

from __future__ import annotations

from collections.abc import Sequence

from aae_toolkit.errors import AaeError

_PIXELS = ([0.0], [255.0])  # offset and span of uint8


def require_pixels(name: str, offset: Sequence[float], span: Sequence[float], shape: tuple[int, int, int]) -> None:
    """Refuse image files for a model that was fitted on something else than pictures of uint8.

    Args:
        name: the model, for the message.
        offset: lowest value in `fit`, of all pixels or of each feature.
        span: width of the range from there.
        shape: (C, H, W) of the model; rows of features are one pixel high.

    Raises:
        AaeError: it was fitted on rows of features, or on other numbers than pixels from 0 to 255.
    """
    if shape[:2] == (1, 1):
        fitted = f"rows of {shape[2]} features"
    elif (list(offset), list(span)) != _PIXELS:
        fitted = f"numbers from {offset[0]:g} to {offset[0] + span[0]:g}"
    else:
        return
    raise AaeError(f"{name} was fitted on {fitted}, not on pixels from 0 to 255 as images hold; label arrays in Python")
