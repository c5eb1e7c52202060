"""Sources of images: the MNIST family by torchvision, scikit-learn's digits, folders of image files."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.folder import FolderOptions, read_folder
from aae_toolkit.data.idx import read_idx
from aae_toolkit.data.kinds import DATA_DIRECTORY, FOLDER_OF_IMAGES, idx_files, what_is
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.data.split import UNLABELED as UNLABELED
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.text import reason_of

SourceName = Literal["mnist", "fashion-mnist", "kmnist", "digits", "folder"]
_DOWNLOADING = ".aae-download-"

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
        n_left_out: number of images that should have been read, and were not.
        given_validation: int64, indices of the validation images, if they are given; the source is split without them.
        given_test: likewise of the test images.
        preparation: preparation of each image.
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
    n_left_out: int = 0
    given_validation: NDArray[np.int64] | None = None
    given_test: NDArray[np.int64] | None = None
    preparation: Preparation = DEFAULT


def load_source(
    name: SourceName,
    raw_dir: Path | None,
    download_dir: Path,
    image_shape: tuple[int, int, int],
    *,
    folder: FolderOptions | None = None,
    progress: Progress | None = None,
) -> Source:
    """Load a source by name.

    Args:
        name: the source.
        raw_dir: directory with the files (required for `folder`); if given, nothing is downloaded.
        download_dir: directory that the MNIST family is downloaded to if `raw_dir` is not given.
        image_shape: (C, H, W) that the images of a `folder` are converted to; the other sources keep their own.
        folder: options of a `folder`.
        progress: listener for the classes of a folder, and for images that are left out or changed.

    Raises:
        AaeError: files are absent or damaged, or a download failed.
        UsageError: `folder` without `raw_dir`.
    """
    if name == "digits":
        return _digits()
    if name == "folder":
        if raw_dir is None:
            raise UsageError("--source folder needs --raw-dir: a directory with one sub-directory of images per class")
        return _folder(raw_dir, image_shape, folder or FolderOptions(), progress or Silent())
    return _mnist_family(name, raw_dir, download_dir)


def _mnist_family(name: SourceName, raw_dir: Path | None, download_dir: Path) -> Source:
    folder = _MNIST_FOLDERS[name]
    if raw_dir is None:
        _download(name, folder, download_dir)
    raw = download_dir / folder / "raw" if raw_dir is None else _idx_directory(name, raw_dir)
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


def _idx_directory(name: SourceName, raw_dir: Path) -> Path:
    """Return the directory of a data set's IDX files, in `raw_dir` as torchvision has them, or `raw_dir` itself.

    Raises:
        AaeError: there are none, or they are those of another data set; the message says what `raw_dir` is.
    """
    usual = raw_dir / _MNIST_FOLDERS[name] / "raw"
    if usual.is_dir():
        return usual
    found = idx_files(raw_dir)
    if found is None:
        raise AaeError(
            f"{name} not found: expected readable IDX files in {raw_dir} or {usual}; {_instead_of_idx(raw_dir)}"
        )
    others = {folder: other for other, folder in _MNIST_FOLDERS.items() if other != name}
    if other := next((others[part] for part in found.resolve().parts if part in others), None):
        raise AaeError(f"{found} holds the files of {other}, by its name; give --source {other}, or files of {name}")
    return found


def _instead_of_idx(raw_dir: Path) -> str:
    """Say what `raw_dir` is, and what would be right."""
    held = what_is(raw_dir)
    if held == FOLDER_OF_IMAGES:
        return f"{raw_dir} is {held}, which needs --source folder"
    if held == DATA_DIRECTORY:
        return f"{raw_dir} is {held}, ready for: aae train semi-supervised|unsupervised --data {raw_dir}"
    found = "" if held is None and raw_dir.exists() else f"{raw_dir} is {held or 'absent'}; "
    return f"{found}leave out --raw-dir to download them, or give --source digits"


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
        raise AaeError(
            f"{name} cannot be downloaded ({reason_of(error)}); give --raw-dir with its files, or --source digits"
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


def _folder(raw_dir: Path, image_shape: tuple[int, int, int], options: FolderOptions, progress: Progress) -> Source:
    found = read_folder(raw_dir, image_shape, options, progress)
    given = [indices for indices in (found.validation, found.test) if indices is not None]
    remaining = np.delete(found.labels, np.concatenate(given)) if given else found.labels
    held_out = (int((remaining != UNLABELED).sum()) or len(remaining)) // 5
    return Source(
        name="folder",
        class_names=found.class_names,
        images=found.images,
        labels=found.labels,
        test_images=None,
        test_labels=None,
        default_labeled=None,
        default_validation=held_out,
        default_test=held_out,
        n_left_out=found.n_left_out,
        given_validation=found.validation,
        given_test=found.test,
        preparation=found.preparation,
    )
