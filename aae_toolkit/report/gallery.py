"""Gallery of the pictures in a model directory: unchanged, in order, with their words."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from aae_toolkit.errors import AaeError
from aae_toolkit.html.rendering import data_address, size
from aae_toolkit.visualization.pictures import PICTURES, no_decoder

_LARGEST = 8_000_000  # maximum size of a picture, in bytes
_LONGEST = 2000  # characters of a picture's words
_ROOM = 30_000_000  # maximum total size of the pictures of a page, in bytes


class Words(NamedTuple):
    """Words of a picture, which its file holds beside the pixels; empty in files of other programs."""

    title: str = ""
    look_for: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """PNG file.

    Attributes:
        file: name of the file.
        words: its words.
        address: data URL with its content.
        width: width, in pixels.
        height: height, in pixels.
        rows: first and last row of pixels between the title and the note, which a page shows as text; all rows of a
            picture without words.
        n_bytes: size of the file.
    """

    file: str
    words: Words
    address: str
    width: int
    height: int
    rows: tuple[int, int]
    n_bytes: int


@dataclass
class Gallery:
    """Pictures of a directory.

    Attributes:
        pictures: pictures in order.
        left_out: names of the files that are too large for the page, with the reason.
        absent: names of known pictures that do not exist.
    """

    pictures: list[Picture] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """Total size of the pictures, in bytes."""
        return sum(picture.n_bytes for picture in self.pictures)


def picture_names(*, decoder: bool = True, mode_decoder: bool) -> list[str]:
    """List the pictures that `aae visualize` draws for a model, in order."""
    return [
        name
        for name, picture in PICTURES.items()
        if (mode_decoder or name != "learned_modes.png") and (decoder or picture.why_not is not no_decoder)
    ]


def collect(directory: Path, known: Sequence[str], pattern: str = "*.png", room: int = _ROOM) -> Gallery:
    """Collect the PNG files of a directory: the known ones in their order, then others by name.

    Args:
        directory: directory of the pictures, which need not exist.
        known: names of the known pictures.
        pattern: glob pattern of file names.
        room: maximum total size in bytes; pictures that do not fit are left out, and listed.

    Raises:
        AaeError: a file cannot be read, or is not a complete PNG.
    """
    files = {p.name: p for p in sorted(directory.glob(pattern)) if p.is_file() and not p.name.startswith(".")}
    gallery = Gallery(absent=[name for name in known if name not in files])
    for name in [*(n for n in known if n in files), *(n for n in files if n not in known)]:
        n_bytes = files[name].stat().st_size
        if n_bytes > _LARGEST:
            gallery.left_out.append((name, f"it has {size(n_bytes)}; the limit for a picture is {size(_LARGEST)}"))
        elif gallery.n_bytes + n_bytes > room:
            gallery.left_out.append((name, f"all pictures of a page may have {size(room)} in total"))
        else:
            gallery.pictures.append(_picture(files[name]))
    return gallery


def _picture(path: Path) -> Picture:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            held = {key: value[:_LONGEST] for key, value in image.info.items() if isinstance(value, str)}
            image.verify()
    except OSError as error:
        if error.errno is not None:
            raise AaeError(f"{path} cannot be read: {error.strerror}") from error
        raise AaeError(f"{path} is not a complete PNG; draw it again, or delete it") from error
    except Exception as error:  # the PNG reader of Pillow raises several types for damaged files
        raise AaeError(f"{path} is not a complete PNG; draw it again, or delete it") from error
    words = Words(*(held.get(key, "") for key in ("Title", "Description", "Comment")))
    rows = _rows(held.get("Drawing", ""), height) if words.title else (0, height)
    return Picture(path.name, words, data_address("image/png", content), width, height, rows, len(content))


def _rows(text: str, height: int) -> tuple[int, int]:
    """Return the first and last row of the drawing that a file names; all rows if it names none."""
    numbers = [int(part) for part in text.split() if part.isascii() and part.isdigit()]
    match numbers:
        case [first, last] if first < last <= height:
            return first, last
    return 0, height
