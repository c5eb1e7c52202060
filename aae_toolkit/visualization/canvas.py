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
DPI = 120
WIDEST = 11.0  # inches; a page that is narrower shrinks the picture and its text
PLAIN = (5.0, 3.8)  # inches of a picture with one panel, two of which fit side by side on a page
SMALL = 9  # points of the smallest text, which is read at half the size on a page
_STRETCH = 2.3  # ratio of sides up to which images in a grid keep theirs, as its square root
_TALLEST = 22  # inches of a grid of images
_LOWEST = 0.2  # inches of a row, which has a line of text beside it
_PAD = 0.08  # inches around the drawing
_TITLE_SIZE, _NOTE_SIZE = 11, SMALL  # points
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
    """Write a figure as PNG, whole or not at all.

    The file also holds its words as text: `Title`, `Description` (what to look for) and `Comment` (the note). `Drawing`
    is the first and last row of pixels between title and note. A page shows these words as its own.
    """
    words = {"Title": _first_line(drawn.get_suptitle()), "Description": _other_lines(drawn.get_suptitle())}
    words["Comment"] = " ".join(drawn.get_supxlabel().split("\n"))
    with atomic_path(path) as temporary:
        drawn.savefig(temporary, dpi=DPI, metadata={"Software": None, "Drawing": _between_words(drawn), **words})


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _other_lines(text: str) -> str:
    return " ".join(text.split("\n")[1:])


def _between_words(drawn: Figure) -> str:
    """Return the rows of pixels between title and note, in the file; the layout places the panels between them."""
    drawn.draw_without_rendering()
    height = drawn.bbox.height
    below, above = 0.0, height
    for text in drawn.texts:
        box = text.get_window_extent()
        if text.get_text() == drawn.get_suptitle():
            above = box.y0
        elif text.get_text() == drawn.get_supxlabel():
            below = box.y1
    rows = (round((1 - y / height) * DPI * drawn.get_figheight()) for y in (above, below))
    return " ".join(map(str, rows))


def title(drawn: Figure, name: str, look_for: str) -> None:
    """Set the title of a figure, its name above the sign of a good model, which is wrapped to the width."""
    drawn.suptitle(f"{name}\n{_wrapped(drawn, f'Look for {look_for}', _TITLE_SIZE)}", fontsize=_TITLE_SIZE)


def note(drawn: Figure, text: str) -> None:
    """Set the note below a figure, wrapped to its width."""
    drawn.supxlabel(_wrapped(drawn, " ".join(text.split()), _NOTE_SIZE), fontsize=_NOTE_SIZE, color="0.25")


def _wrapped(drawn: Figure, text: str, size: float) -> str:
    characters = max(20, int((drawn.get_figwidth() - 0.3) * 72 / (size * _CHARACTER)))
    return textwrap.fill(text, characters, break_on_hyphens=False)


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


def cell_size(
    image_shape: tuple[int, int, int], n_rows: int, n_columns: int = 1, room: float = WIDEST
) -> tuple[float, float]:
    """Return width and height in inches of one image in a grid, limited for extreme aspect ratios.

    Args:
        image_shape: shape of the image: (C, H, W) in pixels.
        n_rows: number of rows.
        n_columns: number of columns.
        room: inches that all columns may take.
    """
    side = min(0.7, max(0.3, 20 / n_rows))
    stretch = min(_STRETCH, max(1 / _STRETCH, (image_shape[2] / image_shape[1]) ** 0.5))
    shrink = min(1.0, _TALLEST / (n_rows * side / stretch), room / (n_columns * side * stretch))
    return shrink * side * stretch, max(_LOWEST, shrink * side / stretch)


def show_image(axes: Any, image: NDArray[Any]) -> None:
    """Draw one image [C, H, W], uint8 or float in [0, 1], without axes: 3 channels as RGB, others as their mean.

    A row of features, or an image of other extreme proportions, is drawn higher or wider than it is.
    """
    limit = 255 if image.dtype == np.uint8 else 1
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
    ratio = image.shape[2] / image.shape[1]
    aspect = ratio / min(_STRETCH**2, max(_STRETCH**-2, ratio))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=limit, interpolation="antialiased", aspect=aspect)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
