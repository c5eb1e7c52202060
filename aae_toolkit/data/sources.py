"""Where images come from: torchvision's MNIST family, scikit-learn's digits, a folder of image files."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.idx import read_idx
from aae_toolkit.data.images import SUFFIXES, Invert, read_noted
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import require_own
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.progress import Progress, Silent

SourceName = Literal["mnist", "fashion-mnist", "kmnist", "digits", "folder"]
UNLABELED = -1
_DOWNLOADING = ".aae-download-"
UNLABELED_FOLDERS = ("_unlabeled", "_unlabelled")
_SAID = 20  # files that cannot be read; the others are counted

_MNIST_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
_GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class Source:
    """All images of a source, before splitting.

    `images` uint8 [N, C, H, W] and `labels` int64 [N] (-1 where unknown) are to be split; `test_images` and
    `test_labels` are the source's own test set, None where it has none. `default_*` are the split sizes used when the
    user names none; None means what is left.
    """

    name: SourceName
    class_names: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8] | None
    test_labels: NDArray[np.int64] | None
    default_labeled: int | None
    default_validation: int
    default_test: int
    n_unreadable: int = 0  # files that were left out


def load_source(
    name: SourceName,
    raw_dir: Path | None,
    download_dir: Path,
    image_shape: tuple[int, int, int],
    *,
    invert: Invert = "no",
    progress: Progress | None = None,
) -> Source:
    """Load a source by name.

    Args:
        name: which source.
        raw_dir: files already there (required for `folder`); nothing is downloaded when it is given.
        download_dir: where the MNIST family is downloaded to when `raw_dir` is not given.
        image_shape: (C, H, W) that a `folder`'s images are converted to; the other sources keep their own.
        invert: for a `folder`, make dark light: `yes`, `no`, or `auto`, where the image's border is light, not dark.
        progress: told of a folder's images that cannot be read, and of what was done to others.

    Raises:
        AaeError: absent or damaged files, or a download that failed.
        UsageError: `folder` without `raw_dir`.
    """
    if name == "digits":
        return _digits()
    if name == "folder":
        if raw_dir is None:
            raise UsageError("--source folder needs --raw-dir: a directory with one sub-directory of images per class")
        return _folder(raw_dir, image_shape, invert, progress or Silent())
    return _mnist_family(name, raw_dir, download_dir)


def _mnist_family(name: SourceName, raw_dir: Path | None, download_dir: Path) -> Source:
    folder = _MNIST_FOLDERS[name]
    if raw_dir is None:
        _download(name, folder, download_dir)
    raw = (raw_dir or download_dir) / folder / "raw"
    try:
        train_images, train_labels, test_images, test_labels = (
            read_idx(raw / f"{part}-{kind}-idx{n_axes}-ubyte", n_axes)
            for part in ("train", "t10k")
            for kind, n_axes in (("images", 3), ("labels", 1))
        )
    except AaeError as error:
        raise AaeError(f"{name} not found: expected readable IDX files in {raw} ({error})") from error
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if len(images) != len(labels) or images.shape[1:] != train_images.shape[1:] or labels.max() > 9:
            raise AaeError(
                f"the files of {name} in {raw} do not go together: {' x '.join(map(str, images.shape))} images,"
                f" {len(labels)} labels up to {labels.max()}; put the four of one data set there"
            )
    return Source(
        name=name,
        class_names=_GARMENTS if name == "fashion-mnist" else tuple(map(str, range(10))),
        images=train_images[:, None],
        labels=train_labels.astype(np.int64),
        test_images=test_images[:, None],
        test_labels=test_labels.astype(np.int64),
        default_labeled=3000,
        default_validation=10000,
        default_test=0,
    )


def _download(name: SourceName, folder: str, download_dir: Path) -> None:
    """Download a data set, which appears in `download_dir` whole or not at all: torchvision takes half a file for one.

    It compares what it fetches with the checksums that it knows.
    """
    if (download_dir / folder).is_dir():
        return
    from torchvision import datasets

    kind = getattr(datasets, folder)
    try:
        with lock_directory(download_dir):
            for left in download_dir.glob(f"{_DOWNLOADING}*"):  # by a run that was killed
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix=_DOWNLOADING, dir=download_dir) as partial:
                kind(root=partial, download=True)
                (Path(partial) / folder).replace(download_dir / folder)
    except Exception as error:  # torchvision raises whatever its readers and urllib do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        mend = "give --raw-dir with its files, or --source digits"
        raise AaeError(f"{name} cannot be downloaded ({reason}); {mend}") from error


def _digits() -> Source:
    from sklearn.datasets import load_digits

    content = load_digits()
    scaled = np.round(content.images * (255 / 16)).astype(np.uint8)  # its pixels are 0-16
    return Source(
        name="digits",
        class_names=tuple(map(str, content.target_names)),
        images=scaled[:, None],
        labels=content.target.astype(np.int64),
        test_images=None,
        test_labels=None,
        default_labeled=300,
        default_validation=300,
        default_test=360,
    )


def _folder(raw_dir: Path, image_shape: tuple[int, int, int], invert: Invert, progress: Progress) -> Source:
    if not raw_dir.is_dir():
        raise AaeError(f"{raw_dir} is not a directory; expected one sub-directory of images per class")
    directories = sorted(d for d in raw_dir.iterdir() if d.is_dir() and not d.name.startswith("."))
    classes = [d for d in directories if not d.name.startswith("_")]
    unlabeled = [d for d in directories if d.name in UNLABELED_FOLDERS]
    for directory in classes + unlabeled:
        require_own(directory)
        if not directory.name.isprintable() or not _is_text(directory.name):
            raise AaeError(f"class directory {directory.name!r} has a name that is no printable text; rename it")
    for directory in directories:
        if directory not in classes + unlabeled:
            progress.say(f"{directory} is left out: a class's name does not begin with an underscore")
    files = [(path, label) for label, directory in enumerate(classes) for path in _image_files(directory)]
    files += [(path, UNLABELED) for directory in unlabeled for path in _image_files(directory)]
    if not files:
        raise AaeError(
            f"{raw_dir} holds no images; expected <class>/*.png or *.jpg, and optionally {UNLABELED_FOLDERS[0]}/"
        )
    images, labels, n_unreadable = _read_all(raw_dir, files, image_shape, invert, progress)
    for label, directory in enumerate(classes):
        if not (labels == label).any():
            raise AaeError(f"class directory {directory} holds no images that can be read; fill it or remove it")
    held_out = (int((labels != UNLABELED).sum()) or len(labels)) // 5
    return Source(
        name="folder",
        class_names=tuple(directory.name for directory in classes),
        images=images,
        labels=labels,
        test_images=None,
        test_labels=None,
        default_labeled=None,
        default_validation=held_out,
        default_test=held_out,
        n_unreadable=n_unreadable,
    )


def _read_all(
    raw_dir: Path,
    files: list[tuple[Path, int]],
    image_shape: tuple[int, int, int],
    invert: Invert,
    progress: Progress,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Images uint8 [N, C, H, W] and labels of the files that can be read, and how many cannot; those are said."""
    images, labels, n_unreadable = [], [], 0
    notes: Counter[str] = Counter()
    for path, label in progress.track(files, "reading", len(files)):
        try:
            if not path.resolve().is_relative_to(raw_dir.resolve()):
                raise AaeError(f"{path}: a link that leads outside of {raw_dir}")
            image = read_noted(path, image_shape, invert=invert, border=0.0)
        except AaeError as error:
            n_unreadable += 1
            if n_unreadable <= _SAID:
                progress.say(str(error))
            continue
        images.append(image.pixels)
        labels.append(label)
        notes.update(image.notes)
    if n_unreadable > _SAID:
        progress.say(f"and {n_unreadable - _SAID} more")
    for note, n in notes.items():
        progress.say(f"{n} of {len(files)} images: {note}")
    if not images:
        raise AaeError(f"none of the {len(files)} images in {raw_dir} can be read")
    return np.stack(images), np.array(labels, dtype=np.int64), n_unreadable


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return True


def _image_files(directory: Path) -> list[Path]:
    found = (p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES and not p.is_dir())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(directory).parts))
