"""Figures drawn without a display and written atomically; colours, markers and hatches for many groups."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Ten colours that differ with any common colour blindness: Petroff, "Accessible Color Sequences for Data
# Visualization", arXiv:2107.02270. More than ten groups differ by marker or hatch too.
_PETROFF = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_MARKERS = "os^DvP*<>p"
_HATCHES = ("", "////", "....", "xxxx", "----", "++++", "oooo", "\\\\\\\\", "||||", "OOOO")
MAIN_COLOR, CONTRAST_COLOR = _PETROFF[0], _PETROFF[2]
_DPI = 120
_STRETCH = 2.3  # ratio of sides up to which images in a grid keep theirs, as its square root
_TALLEST = 22  # inches of a grid of images
_PAD = 0.08  # inches around the drawing
_TITLE_SIZE, _NOTE_SIZE = 11, 9  # points
_CHARACTER = 0.57  # mean width of a character, as a fraction of the font size


@dataclass(frozen=True)
class GroupStyle:
    """Colour, marker and hatch of one group."""

    color: Any
    marker: str
    hatch: str


@contextmanager
def style(families: Sequence[str] = ()) -> Iterator[None]:
    """Set the style for drawing and saving figures: text without mathematics, in the usual font and `families`."""
    from matplotlib import rc_context

    # A class may be named "$5 and $10".
    with rc_context({"text.parse_math": False, "font.family": ["sans-serif", *families]}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    drawn = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD))
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        drawn.savefig(temporary, dpi=_DPI, metadata={"Software": None})


def title(drawn: Figure, text: str) -> None:
    """Set the title of a figure, wrapped to its width."""
    drawn.suptitle(_wrapped(drawn, text, _TITLE_SIZE), fontsize=_TITLE_SIZE)


def note(drawn: Figure, text: str) -> None:
    """Set the note below a figure, wrapped to its width."""
    drawn.supxlabel(_wrapped(drawn, text, _NOTE_SIZE), fontsize=_NOTE_SIZE, color="0.25")


def _wrapped(drawn: Figure, text: str, size: float) -> str:
    characters = max(20, int((drawn.get_figwidth() - 0.3) * 72 / (size * _CHARACTER)))
    return "\n".join(textwrap.fill(line, characters) for line in text.splitlines())


def colors(n: int) -> list[Any]:
    """Return `n` different colours; more than ten are steps of a rainbow."""
    from matplotlib import colormaps

    if n <= len(_PETROFF):
        return list(_PETROFF[:n])
    return [colormaps["turbo"](i / (n - 1)) for i in range(n)]


def group_styles(n: int) -> list[GroupStyle]:
    """Return `n` different styles: ten colours, each with ten markers and hatches; they repeat beyond a hundred."""
    shapes = [(i // len(_PETROFF)) % len(_MARKERS) for i in range(n)]
    return [GroupStyle(_PETROFF[i % len(_PETROFF)], _MARKERS[s], _HATCHES[s]) for i, s in enumerate(shapes)]


def tile(rows: Sequence[Iterable[NDArray[Any]]], n_columns: int) -> NDArray[np.float32]:
    """Arrange images [C, H, W] (uint8, or float in [0, 1]) as tiles, a white pixel apart; white fills short rows."""
    channels, height, width = next(picture.shape for row in rows for picture in row)
    sheet = np.ones((channels, len(rows) * (height + 1) - 1, n_columns * (width + 1) - 1), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + 1), j * (width + 1)
            scaled = picture / 255 if picture.dtype == np.uint8 else picture
            sheet[:, top : top + height, left : left + width] = scaled
    return sheet


def tile_centres(n: int, size: int) -> list[float]:
    """Return the centres of `n` tiles of `size` pixels along an axis, in pixels."""
    return [i * (size + 1) + (size - 1) / 2 for i in range(n)]


def cell_size(image_shape: tuple[int, int, int], n_rows: int) -> tuple[float, float]:
    """Return width and height in inches of one image in a grid of `n_rows` rows, limited for extreme aspect ratios."""
    side = min(0.7, max(0.3, 20 / n_rows))
    stretch = min(_STRETCH, max(1 / _STRETCH, (image_shape[2] / image_shape[1]) ** 0.5))
    shrink = min(1.0, _TALLEST / (n_rows * side / stretch))
    return shrink * side * stretch, shrink * side / stretch


def show_image(axes: Any, image: NDArray[Any]) -> None:
    """Draw one image [C, H, W], uint8 or float in [0, 1], without axes: 3 channels as RGB, others as their mean."""
    limit = 255 if image.dtype == np.uint8 else 1
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=limit, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
