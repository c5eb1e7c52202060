"""Figures drawn without a display and written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.files import atomic_path

# Okabe and Ito's palette, told apart with any common colour blindness, and three more; beyond that, steps of turbo.
_OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#B8A800",
    "#7F7F7F",
    "#8C564B",
)
_DPI = 120


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """Yield a matplotlib figure of the given size in inches, and save it to `path` as PNG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False}):  # a class may be called "$5 and $10"
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn
        with atomic_path(path) as temporary:
            drawn.savefig(temporary, dpi=_DPI, metadata={"Software": None})


def colors(n: int) -> list[Any]:
    """`n` colours that differ."""
    from matplotlib import colormaps

    if n <= len(_OKABE_ITO):
        return list(_OKABE_ITO[:n])
    return [colormaps["turbo"](i / (n - 1)) for i in range(n)]


def tile(rows: Sequence[Iterable[NDArray[Any]]], n_columns: int) -> NDArray[np.float32]:
    """Lay pictures [C, H, W] (uint8, or float in [0, 1]) out as one, a white pixel apart; short rows end in white."""
    channels, height, width = next(picture.shape for row in rows for picture in row)
    sheet = np.ones((channels, len(rows) * (height + 1) - 1, n_columns * (width + 1) - 1), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + 1), j * (width + 1)
            scaled = picture / 255 if picture.dtype == np.uint8 else picture
            sheet[:, top : top + height, left : left + width] = scaled
    return sheet


def tile_centres(n: int, size: int) -> list[float]:
    """Where the middles of `n` tiles of `size` pixels lie along an axis, in pixels."""
    return [i * (size + 1) + (size - 1) / 2 for i in range(n)]


def show_image(axes: Any, image: NDArray[Any]) -> None:
    """Draw one picture [C, H, W], uint8 or float in [0, 1], without axes."""
    channels = image.shape[0]
    picture = image[0] if channels == 1 else image[:3].transpose(1, 2, 0)
    limit = 255 if picture.dtype == np.uint8 else 1
    axes.imshow(picture, cmap="gray" if channels == 1 else None, vmin=0, vmax=limit, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
