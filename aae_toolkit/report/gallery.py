"""The pictures that lie in a model directory, ready for a page: in order, with captions, and none changed."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from aae_toolkit.config import Variant
from aae_toolkit.errors import AaeError
from aae_toolkit.html.rendering import data_address, size
from aae_toolkit.visualization.pictures import PICTURES

_LARGEST = 8_000_000  # bytes of a picture that a page takes
_ROOM = 30_000_000  # bytes of all its pictures


class Caption(NamedTuple):
    """What a picture is called, and what to look for."""

    title: str
    text: str


@dataclass(frozen=True)
class Picture:
    """One PNG file; its address holds its content, width and height are in pixels."""

    file: str
    caption: Caption
    address: str
    width: int
    height: int
    n_bytes: int


@dataclass
class Gallery:
    """Pictures in order, what was too large for the page (name and reason), and captions of what is not there."""

    pictures: list[Picture] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    absent: dict[str, Caption] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Of all pictures."""
        return sum(picture.n_bytes for picture in self.pictures)


def picture_captions(*, mode_decoder: bool) -> dict[str, Caption]:
    """By file name, in order, the pictures of a model that `aae visualize` draws."""
    return {
        name: Caption(picture.title, picture.caption)
        for name, picture in PICTURES.items()
        if mode_decoder or name != "learned_modes.png"
    }


def curve_captions(variant: Variant) -> dict[str, Caption]:
    """By file name, in order, the learning curves of a variant; those whose terms were not trained do not exist."""
    captions = {
        "reconstruction": Caption("Reconstruction loss", "Falls, then levels off."),
        "advesarial": Caption(
            "Adversarial losses", "Discriminators against generators: balanced where neither side runs away."
        ),
        "consistency": Caption("Terms on y, weighted", "Level off, and none of them rises for long."),
        "classification": Caption("Classification loss", "On labelled images."),
        "cyclic_info": Caption("Cyclic mode loss", "Low where a category is read back from its own picture."),
        "accuracy": Caption("Accuracy on validation images", "After each epoch."),
    }
    return {f"{variant}_{name}_learning_curve.png": caption for name, caption in captions.items()}


def hang(directory: Path, captions: dict[str, Caption], pattern: str = "*.png", room: int = _ROOM) -> Gallery:
    """Collect the PNG files of a directory: those that `captions` names in its order, then others by name.

    Args:
        directory: need not exist.
        captions: by file name.
        pattern: of file names.
        room: bytes for all of them; what does not fit is left out, and named.

    Raises:
        AaeError: a file cannot be read, or is no whole PNG.
    """
    found = {p.name: p for p in sorted(directory.glob(pattern)) if p.is_file() and not p.name.startswith(".")}
    gallery = Gallery(absent={name: caption for name, caption in captions.items() if name not in found})
    for name in [*(n for n in captions if n in found), *(n for n in found if n not in captions)]:
        n_bytes = found[name].stat().st_size
        if n_bytes > _LARGEST:
            gallery.left_out.append((name, f"it has {size(n_bytes)}, a picture of this page at most {size(_LARGEST)}"))
        elif gallery.n_bytes + n_bytes > room:
            gallery.left_out.append((name, f"this page's pictures have {size(room)} together at most"))
        else:
            gallery.pictures.append(_picture(found[name], captions.get(name) or Caption(name, "")))
    return gallery


def _picture(path: Path, caption: Caption) -> Picture:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            image.verify()
    except OSError as error:
        if error.errno is not None:
            raise AaeError(f"{path} cannot be read: {error.strerror}") from error
        raise AaeError(f"{path} is no whole PNG; draw it again, or take it away") from error
    except Exception as error:  # Pillow's PNG reader has half a dozen kinds for damaged files
        raise AaeError(f"{path} is no whole PNG; draw it again, or take it away") from error
    return Picture(path.name, caption, data_address("image/png", content), width, height, len(content))
