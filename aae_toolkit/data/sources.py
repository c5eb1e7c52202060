"""Sources of images: the MNIST family by torchvision, scikit-learn's digits, folders of image files."""

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
_MAX_REPORTED = 20  # unreadable files reported one by one; the rest is counted

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

    Attributes:
        name: the source.
        class_names: class names by class index.
        images: uint8 [N, C, H, W], to be split.
        labels: int64 [N], -1 where unknown.
        test_images: the source's own test set, uint8 [M, C, H, W]; None if it has none.
        test_labels: its labels, int64 [M].
        default_labeled: default size of the labelled set; None takes all remaining labelled images.
        default_validation: default size of the validation set.
        default_test: default size of the test set, for a source without its own.
        n_unreadable: number of files that could not be read.
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
    n_unreadable: int = 0


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
        name: the source.
        raw_dir: directory with the files (required for `folder`); if given, nothing is downloaded.
        download_dir: directory that the MNIST family is downloaded to if `raw_dir` is not given.
        image_shape: (C, H, W) that the images of a `folder` are converted to; the other sources keep their own.
        invert: for a `folder`, invert brightness: `yes`, `no`, or `auto`, which inverts images with a light border.
        progress: listener for unreadable and for changed images of a folder.

    Raises:
        AaeError: files are absent or damaged, or a download failed.
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
                f"the files of {name} in {raw} do not match: {' x '.join(map(str, images.shape))} images,"
                f" {len(labels)} labels up to {labels.max()}; put the four files of one data set there"
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
    """Download a data set into `download_dir`, whole or not at all: torchvision accepts truncated files.

    torchvision itself verifies the checksums of its downloads.
    """
    if (download_dir / folder).is_dir():
        return
    from torchvision import datasets

    kind = getattr(datasets, folder)
    try:
        with lock_directory(download_dir):
            for leftover in download_dir.glob(f"{_DOWNLOADING}*"):  # of a killed run
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix=_DOWNLOADING, dir=download_dir) as partial:
                kind(root=partial, download=True)
                (Path(partial) / folder).replace(download_dir / folder)
    except Exception as error:  # torchvision passes on any exception of its readers and urllib
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AaeError(
            f"{name} cannot be downloaded ({reason}); give --raw-dir with its files, or --source digits"
        ) from error


def _digits() -> Source:
    from sklearn.datasets import load_digits

    content = load_digits()
    scaled = np.round(content.images * (255 / 16)).astype(np.uint8)  # pixels are 0-16
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
            raise AaeError(f"class directory {directory.name!r} has an unprintable name; rename it")
    for directory in directories:
        if directory not in classes + unlabeled:
            progress.say(f"{directory} is left out: the name of a class must not begin with an underscore")
    files = [(path, label) for label, directory in enumerate(classes) for path in _image_files(directory)]
    files += [(path, UNLABELED) for directory in unlabeled for path in _image_files(directory)]
    if not files:
        raise AaeError(
            f"{raw_dir} holds no images; expected <class>/*.png or *.jpg, and optionally {UNLABELED_FOLDERS[0]}/"
        )
    images, labels, n_unreadable = _read_all(raw_dir, files, image_shape, invert, progress)
    for label, directory in enumerate(classes):
        if not (labels == label).any():
            raise AaeError(f"class directory {directory} holds no images that can be read; add some or remove it")
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
    """Return images uint8 [N, C, H, W], their labels, and the number of unreadable files, which are reported."""
    images = np.empty((len(files), *image_shape), np.uint8)  # a list would be copied once all are read
    labels: list[int] = []
    n_unreadable = 0
    notes: Counter[str] = Counter()
    for path, label in progress.track(files, "reading", len(files)):
        try:
            if not path.resolve().is_relative_to(raw_dir.resolve()):
                raise AaeError(f"{path}: a link that leads outside of {raw_dir}")
            image = read_noted(path, image_shape, invert=invert, border=0.0)
        except AaeError as error:
            n_unreadable += 1
            if n_unreadable <= _MAX_REPORTED:
                progress.say(str(error))
            continue
        images[len(labels)] = image.pixels
        labels.append(label)
        notes.update(image.notes)
    if n_unreadable > _MAX_REPORTED:
        progress.say(f"and {n_unreadable - _MAX_REPORTED} more")
    for note, n in notes.items():
        progress.say(f"{n} of {len(files)} images: {note}")
    if not labels:
        raise AaeError(f"none of the {len(files)} images in {raw_dir} can be read")
    return images[: len(labels)], np.array(labels, dtype=np.int64), n_unreadable


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # not in the file system's encoding
        return False
    return True


def _image_files(directory: Path) -> list[Path]:
    files = (p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES and not p.is_dir())
    return sorted(p for p in files if not any(part.startswith(".") for part in p.relative_to(directory).parts))
