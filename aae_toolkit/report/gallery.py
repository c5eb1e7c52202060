"""Gallery of the pictures in a model directory: unchanged, in order, with captions."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from aae_toolkit.config import Variant
from aae_toolkit.errors import AaeError
from aae_toolkit.html.rendering import data_address, size
from aae_toolkit.visualization.pictures import PICTURES, no_decoder

_LARGEST = 8_000_000  # maximum size of a picture, in bytes
_ROOM = 30_000_000  # maximum total size of the pictures of a page, in bytes


class Caption(NamedTuple):
    """Title of a picture, and a text that explains it."""

    title: str
    text: str


@dataclass(frozen=True)
class Picture:
    """PNG file; `address` is a data URL with its content, width and height are in pixels."""

    file: str
    caption: Caption
    address: str
    width: int
    height: int
    n_bytes: int


@dataclass
class Gallery:
    """Pictures of a directory.

    Attributes:
        pictures: pictures in order.
        left_out: names of the files that are too large for the page, with the reason.
        absent: captions of known pictures that do not exist, by file name.
    """

    pictures: list[Picture] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    absent: dict[str, Caption] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Total size of the pictures, in bytes."""
        return sum(picture.n_bytes for picture in self.pictures)


def picture_captions(*, decoder: bool = True, mode_decoder: bool) -> dict[str, Caption]:
    """List the captions of the pictures that `aae visualize` draws for a model, by file name, in order."""
    return {
        name: Caption(picture.title, picture.caption)
        for name, picture in PICTURES.items()
        if (mode_decoder or name != "learned_modes.png") and (decoder or picture.why_not is not no_decoder)
    }


def curve_captions(variant: Variant) -> dict[str, Caption]:
    """List the captions of the learning curves of a variant, by file name, in order; curves of unused terms too."""
    captions = {
        "reconstruction": Caption("Reconstruction loss", "Falls, then levels off."),
        "advesarial": Caption(
            "Adversarial losses", "Discriminators against generators: balanced where neither side runs away."
        ),
        "consistency": Caption("Weighted terms on y", "Level off; none rises for long."),
        "classification": Caption("Classification loss", "Cross-entropy on labelled images."),
        "cyclic_info": Caption("Cyclic mode loss", "Low if the encoder recovers each category from its decoded image."),
        "accuracy": Caption("Accuracy on validation images", "Measured after each epoch."),
    }
    return {f"{variant}_{name}_learning_curve.png": caption for name, caption in captions.items()}


def collect(directory: Path, captions: dict[str, Caption], pattern: str = "*.png", room: int = _ROOM) -> Gallery:
    """Collect the PNG files of a directory: those with captions in their order, then others by name.

    Args:
        directory: directory of the pictures, which need not exist.
        captions: captions by file name.
        pattern: glob pattern of file names.
        room: maximum total size in bytes; pictures that do not fit are left out, and listed.

    Raises:
        AaeError: a file cannot be read, or is not a complete PNG.
    """
    files = {p.name: p for p in sorted(directory.glob(pattern)) if p.is_file() and not p.name.startswith(".")}
    gallery = Gallery(absent={name: caption for name, caption in captions.items() if name not in files})
    for name in [*(n for n in captions if n in files), *(n for n in files if n not in captions)]:
        n_bytes = files[name].stat().st_size
        if n_bytes > _LARGEST:
            gallery.left_out.append((name, f"it has {size(n_bytes)}; the limit for a picture is {size(_LARGEST)}"))
        elif gallery.n_bytes + n_bytes > room:
            gallery.left_out.append((name, f"all pictures of a page may have {size(room)} in total"))
        else:
            gallery.pictures.append(_picture(files[name], captions.get(name) or Caption(name, "")))
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
        raise AaeError(f"{path} is not a complete PNG; draw it again, or delete it") from error
    except Exception as error:  # the PNG reader of Pillow raises several types for damaged files
        raise AaeError(f"{path} is not a complete PNG; draw it again, or delete it") from error
    return Picture(path.name, caption, data_address("image/png", content), width, height, len(content))
