"""Kinds of directories, told by what they hold, for a message where one of another kind is given.

Needs neither numpy nor pillow, for `aae predict`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from aae_toolkit.data.formats import SUFFIXES
from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own
from aae_toolkit.text import nearest

Kind = Literal["data directory", "model directory", "export directory"]

_INDEX: dict[Kind, str] = {
    "data directory": "dataset.json",
    "model directory": "model.json",
    "export directory": "manifest.json",
}
DATA_DIRECTORY = "a data directory"  # what `what_is` says of it
IDX_FILES = "a directory of IDX files"
EMPTY = "an empty directory"
FOLDER_OF_IMAGES = "a folder of image files"
_OF_EXPORTS = ("manifest.json", "weights.safetensors")
_CHECKPOINT = "checkpoint.pt"
_MOST_ENTRIES = 500  # of a directory that are looked at
_MOST_NAMED = 3  # directories that a message suggests


def require_kind(directory: Path, kind: Kind) -> None:
    """Refuse a directory of another kind.

    Raises:
        AaeError: it is absent, of another kind, or its index is a link that leads outside; the message says what it is,
            and names the directory or the command that would work.
    """
    if not is_a(directory, kind):
        raise AaeError(f"{_found(directory, kind)}; {_advice(directory, kind)}")
    require_own(directory / _INDEX[kind])


def is_a(directory: Path, kind: Kind) -> bool:
    """Whether a directory is of a kind; a model directory may be an export as well, which has a model.json too."""
    if kind == "model directory" and any(_holds(directory, name) for name in _OF_EXPORTS):
        return _holds(directory, _INDEX[kind]) and any(directory.glob("encoder_*.safetensors"))
    return _holds(directory, _INDEX[kind])


def what_is(path: Path) -> str | None:
    """Say what a path is, such as `an export directory`; None if that is not known."""
    if path.is_file():
        return "a file, not a directory"
    if kind := _kind_of(path):
        return _with_article(kind)
    if _holds(path, _CHECKPOINT):
        return "the directory of a training that has no model yet"
    if idx_files(path) is not None:
        return IDX_FILES
    if holds_images(path):
        return FOLDER_OF_IMAGES
    if path.is_dir() and not entries(path):
        return EMPTY
    return None


def near(path: Path, kind: Kind) -> list[Path]:
    """Return directories of a kind in a directory, above it, or beside it where it is misspelt; the nearest ones."""
    below = entries(path) if path.is_dir() else []
    above = [path.parent, path.parent.parent]
    beside = []
    if not path.exists():
        names = {entry.name: entry for entry in entries(path.parent)}
        beside = [names[name] for name in nearest(path.name, names, n=_MOST_NAMED)]
    further = [inner for entry in below if entry.is_dir() for inner in entries(entry)]
    for candidates in (below, above if path.exists() else [], beside, further):
        if found := [candidate for candidate in candidates if is_a(candidate, kind)]:
            return found[:_MOST_NAMED]
    return []


def idx_files(path: Path) -> Path | None:
    """Return the directory with IDX files of images: this one, or one below it; None if there is none."""
    for directory in (path, path / "raw", *(entry / "raw" for entry in entries(path))):
        if directory.is_dir() and next(directory.glob("*-idx3-ubyte*"), None) is not None:
            return directory
    return None


def holds_images(path: Path) -> bool:
    """Whether a directory, or one directly in it, holds files that are named like images."""
    direct = entries(path)
    inner = (file for entry in direct if entry.is_dir() for file in entries(entry))
    return any(file.suffix.lower() in SUFFIXES for file in chain(direct, inner))


def _found(path: Path, kind: Kind) -> str:
    """Say what was found where a directory of a kind was wanted."""
    if not path.exists():
        return f"{kind} {path} does not exist"
    found = what_is(path)
    if path.is_file():
        return f"{kind} {path} is {found}"
    if found is None or found == EMPTY:
        return f"{kind} {path} holds no {_INDEX[kind]}{'' if found is None else ': it is empty'}"
    return f"{path} is {found}, not {_with_article(kind)}"


def _advice(path: Path, kind: Kind) -> str:
    """Name the directory or the command that would work."""
    if found := near(path, kind):
        return f"pass {' or '.join(map(str, found))}"
    own, holds_idx = _kind_of(path), idx_files(path) is not None
    if kind == "export directory":
        model = next((place for place in (path, path.parent) if is_a(place, "model directory")), "<model>")
        return f"write one with: aae export --model {model}"
    if own is None and (holds_idx or holds_images(path)):
        source = "" if holds_idx else " --source folder"
        then = ", and train on it" if kind == "model directory" else ""
        return f"write a data directory with: aae init-datasets --data NEW{source} --raw-dir {path}{then}"
    if kind == "data directory":
        is_free = own is None and not path.is_file() and not _holds(path, _CHECKPOINT)
        write = f"write one with: aae init-datasets --data {path}"
        return write if is_free else "pass the directory that aae init-datasets wrote"
    if own == "data directory":
        return f"train a model on it with: aae train semi-supervised|unsupervised --data {path}"
    if own == "export directory":
        return f"pass the model directory that it was exported from; aae parity --export {path} proves the export"
    if _holds(path, _CHECKPOINT):
        return f"train on with: aae train --resume {shlex.quote(str(path))}"
    return "train one with: aae train semi-supervised|unsupervised"


def _kind_of(path: Path) -> Kind | None:
    kinds: tuple[Kind, ...] = ("export directory", "model directory", "data directory")
    return next((kind for kind in kinds if is_a(path, kind)), None)


def _with_article(kind: Kind) -> str:
    return f"{'an' if kind == 'export directory' else 'a'} {kind}"


def _holds(directory: Path, name: str) -> bool:
    return (directory / name).is_file()


def entries(directory: Path) -> list[Path]:
    """Return the first entries of a directory, sorted; none if it cannot be read, or of hidden ones."""

    def visible() -> Iterator[Path]:
        try:
            yield from (path for path in directory.iterdir() if not path.name.startswith("."))
        except OSError:
            return

    return sorted(islice(visible(), _MOST_ENTRIES))
