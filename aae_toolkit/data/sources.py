"""Where images come from: torchvision's MNIST family, scikit-learn's digits, a folder of image files."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.images import SUFFIXES, read_image
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.lock import lock_directory

SourceName = Literal["mnist", "fashion-mnist", "kmnist", "digits", "folder"]
UNLABELED = -1
_DOWNLOADING = ".aae-download-"
UNLABELED_FOLDER = "_unlabeled"


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


def load_source(
    name: SourceName, raw_dir: Path | None, download_dir: Path, image_shape: tuple[int, int, int]
) -> Source:
    """Load a source by name.

    Args:
        name: which source.
        raw_dir: files already there (required for `folder`); nothing is downloaded when it is given.
        download_dir: where the MNIST family is downloaded to when `raw_dir` is not given.
        image_shape: (C, H, W) that a `folder`'s images are converted to; the other sources keep their own.

    Raises:
        AaeError: absent or damaged files, or a download that failed.
        UsageError: `folder` without `raw_dir`.
    """
    if name == "digits":
        return _digits()
    if name == "folder":
        if raw_dir is None:
            raise UsageError("--source folder needs --raw-dir: a directory with one sub-directory of images per class")
        return _folder(raw_dir, image_shape)
    return _mnist_family(name, raw_dir, download_dir)


def _mnist_family(name: SourceName, raw_dir: Path | None, download_dir: Path) -> Source:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[name]
    root = raw_dir or download_dir
    try:
        if raw_dir is None:
            _download(kind, download_dir)
        parts = [kind(root=str(root), train=train) for train in (True, False)]
    except Exception as error:  # torchvision raises whatever its readers and urllib do
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if raw_dir is not None:
            expected = root / kind.__name__ / "raw"
            raise AaeError(f"{name} not found: expected readable IDX files in {expected} ({reason})") from error
        mend = "give --raw-dir with its files, or --source digits"
        raise AaeError(f"{name} cannot be downloaded ({reason}); {mend}") from error
    train, test = parts
    return Source(
        name=name,
        class_names=tuple(str(c) for c in train.classes) if name == "fashion-mnist" else tuple(map(str, range(10))),
        images=train.data.numpy()[:, None],
        labels=train.targets.numpy().astype(np.int64),
        test_images=test.data.numpy()[:, None],
        test_labels=test.targets.numpy().astype(np.int64),
        default_labeled=3000,
        default_validation=10000,
        default_test=0,
    )


def _download(kind: Any, directory: Path) -> None:
    """Download a data set, which appears in `directory` whole or not at all: torchvision takes half a file for one."""
    if (directory / kind.__name__).is_dir():
        return
    with lock_directory(directory):
        for left in directory.glob(f"{_DOWNLOADING}*"):  # by a run that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=_DOWNLOADING, dir=directory) as partial:
            kind(root=partial, download=True)
            (Path(partial) / kind.__name__).replace(directory / kind.__name__)


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


def _folder(raw_dir: Path, image_shape: tuple[int, int, int]) -> Source:
    if not raw_dir.is_dir():
        raise AaeError(f"{raw_dir} is not a directory; expected one sub-directory of images per class")
    classes = sorted(d for d in raw_dir.iterdir() if d.is_dir() and not d.name.startswith((".", "_")))
    for directory in classes:
        if not directory.name.isprintable() or not _is_text(directory.name):
            raise AaeError(f"class directory {directory.name!r} has a name that is no printable text; rename it")
    files = [(path, label) for label, directory in enumerate(classes) for path in _image_files(directory)]
    files += [(path, UNLABELED) for path in _image_files(raw_dir / UNLABELED_FOLDER)]
    if not files:
        raise AaeError(
            f"{raw_dir} holds no images; expected <class>/*.png or *.jpg, and optionally {UNLABELED_FOLDER}/"
        )
    labels = np.array([label for _, label in files], dtype=np.int64)
    for label, directory in enumerate(classes):
        if not (labels == label).any():
            raise AaeError(f"class directory {directory} holds no images; fill it or remove it")
    held_out = (int((labels != UNLABELED).sum()) or len(labels)) // 5
    return Source(
        name="folder",
        class_names=tuple(directory.name for directory in classes),
        images=np.stack([read_image(path, image_shape) for path, _ in files]),
        labels=labels,
        test_images=None,
        test_labels=None,
        default_labeled=None,
        default_validation=held_out,
        default_test=held_out,
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return True


def _image_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    found = (p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES and not p.is_dir())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(directory).parts))
