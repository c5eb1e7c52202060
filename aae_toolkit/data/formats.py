"""Kinds of image files, told by their content; needs neither pillow nor numpy, for `aae predict`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# Files with these suffixes are given to the decoder unseen, which judges them by their content. All others are
# opened here first, so that a folder of a million png files is opened once.
SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
    | {".pbm", ".pgm", ".ppm", ".pnm"}
)
NAMES = "PNG, JPEG, BMP, GIF, WebP, TIFF, PPM or AVIF"
HEAD_BYTES = 512  # from which a kind is told

_READ = frozenset({"PNG", "JPEG", "BMP", "GIF", "WebP", "TIFF", "PPM", "AVIF"})
_HEIF_ADVICE = 'HEIC is not read without pillow-heif; pip install "aae-toolkit[heif]"'

_AT_THE_START = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"icns", "icon"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"gimp xcf", "GIMP"),
    (b"%!PS-Adobe-3.0 EPSF", "EPS"),
    (b"/* XPM */", "XPM"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIRS", "camera raw"),
    (b"SIMPLE  =", "FITS"),
)
_BRANDS = (  # of ISO media files, by the first that is found
    ({b"avif", b"avis"}, "AVIF"),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}, "HEIC"),
    ({b"crx "}, "camera raw"),
)
_PPM = re.compile(rb"P[1-6f]\s(?:\s*#[^\n]*\n)*\s*-?\d+\s")
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE svg.*?>\s*)*<svg[\s>]", re.DOTALL)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes in bytes; text may begin with BM as well
_CAMERA_SUFFIXES = frozenset({".arw", ".cr2", ".dng", ".kdc", ".nef", ".nrw", ".pef", ".srw", ".3fr", ".iiq"})
_BY_SUFFIX = {".tga": "TGA", ".pcx": "PCX", ".sgi": "SGI", ".wmf": "WMF", ".emf": "EMF"}  # too weak a signature


def kind_of(head: bytes, suffix: str = "") -> str | None:
    """Return the kind of an image file, such as `PNG`; None if it is no image.

    Args:
        head: first `HEAD_BYTES` bytes of the file, or all.
        suffix: its suffix in lower case, which tells a TIFF file from a camera's raw one.
    """
    for start, kind in _AT_THE_START:
        if head.startswith(start):
            return "camera raw" if kind == "TIFF" and (suffix in _CAMERA_SUFFIXES or head[8:10] == b"CR") else kind
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))}
        return next((kind for known, kind in _BRANDS if known & brands), None)
    checks = {
        "WebP": head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        "BMP": head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS,
        "PPM": _PPM.match(head) is not None,
        "icon": head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and 0 < head[4] < 64 and head[5] == 0,
        "DICOM": head[128:132] == b"DICM",
        "SVG": _SVG.match(head) is not None,
        _BY_SUFFIX.get(suffix, ""): suffix in _BY_SUFFIX and b"\0" in head,
    }
    return next((kind for kind, found in checks.items() if found), None)


@cache
def has_heif() -> bool:
    """Whether pillow-heif, which reads HEIC files, is installed."""
    from importlib.util import find_spec

    return find_spec("pillow_heif") is not None


def unread(kind: str) -> str | None:
    """Return why images of a kind are not read, with what would be right; None if they are read."""
    if kind == "HEIC":
        return None if has_heif() else _HEIF_ADVICE
    return None if kind in _READ else f"{kind} is not read; convert it to PNG"


def kind_of_file(path: Path) -> str | None:
    """Return `kind_of` a regular file.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb", buffering=0) as file:
        return kind_of(file.read(HEAD_BYTES), path.suffix.lower())
