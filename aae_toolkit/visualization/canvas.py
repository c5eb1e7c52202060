"""Figures drawn without a display and written whole or not at all, in colours and shapes that can be told apart."""

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

# Ten colours chosen to differ with any common colour blindness: Petroff, "Accessible Color Sequences for Data
# Visualization", arXiv:2107.02270. What is more than ten differs by marker or hatch too.
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
_PAD = 0.08  # inches around what is drawn
_TITLE_SIZE, _NOTE_SIZE = 11, 9  # points
_CHARACTER = 0.57  # of a point size, the mean width of a character


@dataclass(frozen=True)
class Look:
    """How one of several groups is drawn."""

    color: Any
    marker: str
    hatch: str


@contextmanager
def style(families: Sequence[str] = ()) -> Iterator[None]:
    """While figures are drawn and saved: text is no mathematics; `families` have what the usual font lacks."""
    from matplotlib import rc_context

    # A class may be called "$5 and $10".
    with rc_context({"text.parse_math": False, "font.family": ["sans-serif", *families]}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches."""
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
    """Head a figure with `text`, its lines broken where the figure ends."""
    drawn.suptitle(_wrapped(drawn, text, _TITLE_SIZE), fontsize=_TITLE_SIZE)


def note(drawn: Figure, text: str) -> None:
    """Put what was measured under a figure."""
    drawn.supxlabel(_wrapped(drawn, text, _NOTE_SIZE), fontsize=_NOTE_SIZE, color="0.25")


def _wrapped(drawn: Figure, text: str, size: float) -> str:
    characters = max(20, int((drawn.get_figwidth() - 0.3) * 72 / (size * _CHARACTER)))
    return "\n".join(textwrap.fill(line, characters) for line in text.splitlines())


def colors(n: int) -> list[Any]:
    """`n` colours that differ; beyond ten they are steps of a rainbow, near ones alike."""
    from matplotlib import colormaps

    if n <= len(_PETROFF):
        return list(_PETROFF[:n])
    return [colormaps["turbo"](i / (n - 1)) for i in range(n)]


def looks(n: int) -> list[Look]:
    """`n` looks that differ: ten colours, then the same with another marker and hatch, up to a hundred."""
    shapes = [(i // len(_PETROFF)) % len(_MARKERS) for i in range(n)]
    return [Look(_PETROFF[i % len(_PETROFF)], _MARKERS[s], _HATCHES[s]) for i, s in enumerate(shapes)]


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


def cell_size(image_shape: tuple[int, int, int], n_rows: int) -> tuple[float, float]:
    """Width and height in inches at which one of `n_rows` rows of pictures is seen, however long or wide they are."""
    side = min(0.7, max(0.3, 20 / n_rows))
    stretch = min(2.5, max(0.4, (image_shape[2] / image_shape[1]) ** 0.5))
    return side * stretch, side / stretch


def show_image(axes: Any, image: NDArray[Any]) -> None:
    """Draw one picture [C, H, W], uint8 or float in [0, 1], without axes; other than 1 or 3 channels as their mean."""
    limit = 255 if image.dtype == np.uint8 else 1
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=limit, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
