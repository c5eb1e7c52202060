"""Images and labels of a folder: class folders, given splits, or a list of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.class_names import in_order
from aae_toolkit.data.colour import colour_alone
from aae_toolkit.data.kinds import DATA_DIRECTORY, FOLDER_OF_IMAGES, IDX_FILES, holds_images, what_is
from aae_toolkit.data.labels_csv import read_labels
from aae_toolkit.data.layout import UNLABELED_FOLDERS, Layout, Part, find_layout, part_of
from aae_toolkit.data.left_out import IGNORED, LOOSE, UNLISTED, LeftOut
from aae_toolkit.data.pixels import File, PictureReader, Pictures
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.data.split import UNLABELED
from aae_toolkit.data.value_range import find_range
from aae_toolkit.data.walk import Walker
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.progress import Progress

_OF_NO_IMAGES = frozenset({".npz", ".pt", ".safetensors"})  # of files that aae writes beside the pictures of a model
_READING_ORDER: dict[Part, int] = {"test": 0, "validation": 1, "train": 2}  # what comes first is kept


@dataclass(frozen=True)
class FolderOptions:
    """Options of a folder of images.

    Attributes:
        preparation: preparation of each image.
        auto_range: find the range of images with more than 8 bits per channel by their values.
        labels_csv: CSV file with the columns path and label, instead of class folders.
        conflicts: what becomes of equal images with different labels: `refuse` them all, or `drop` each.
        follow_links: also follow links that lead outside.
        earlier_names: class names of an existing data directory, whose order is kept.
        sized: parts whose sizes are asked for, and which therefore must not be given.
        processes: allow many files to be read by processes; see `data.decoding.decoded_ahead`.
    """

    preparation: Preparation = DEFAULT
    auto_range: bool = True
    labels_csv: Path | None = None
    conflicts: Literal["refuse", "drop"] = "refuse"
    follow_links: bool = False
    earlier_names: tuple[str, ...] = ()
    sized: tuple[str, ...] = ()
    processes: bool = False


@dataclass(frozen=True)
class FolderImages:
    """Content of a folder of images.

    Attributes:
        class_names: class names by class index.
        images: uint8 [N, C, H, W].
        labels: int64 [N], -1 where unknown.
        validation: indices of given validation images; None if they are to be drawn.
        test: indices of given test images; None if they are to be drawn.
        n_left_out: number of images that should have been read.
        preparation: preparation of each image.
    """

    class_names: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    validation: NDArray[np.int64] | None
    test: NDArray[np.int64] | None
    n_left_out: int
    preparation: Preparation


def read_folder(
    raw_dir: Path, image_shape: tuple[int, int, int], options: FolderOptions, progress: Progress
) -> FolderImages:
    """Read the images of a folder, and report what it holds and what is left out.

    Raises:
        AaeError: it is no folder of images, or can be misread, or needs a range.
        UsageError: a size is asked for of a part that is given.
    """
    _require_folder(raw_dir)
    left_out = LeftOut(progress.say)
    if options.labels_csv is not None:
        class_names, files = _listed(raw_dir, options.labels_csv, options, left_out, progress)
        given = {file.part: file.path.parent for file in files}
    else:
        layout = find_layout(raw_dir, follow_links=options.follow_links, say=progress.say)
        class_names = in_order(layout.names, options.earlier_names)
        walker = Walker(raw_dir, left_out, follow_links=options.follow_links, aside=layout.ignored)
        files = _sorted(layout, class_names, walker)
        given = layout.given
        _account_for_others(layout, Walker(raw_dir, left_out, follow_links=options.follow_links))
    for part, folder in given.items():
        if part in options.sized:
            raise UsageError(f"the {part} images are given in {folder} and kept as they are; leave --{part} out")
    if not files:
        left_out.finish()
        raise AaeError(
            f"{raw_dir} holds no images; expected <class>/*.png or *.jpg, and optionally {UNLABELED_FOLDERS[0]}/"
        )
    preparation = _with_range(options, files, progress)
    reader = PictureReader(image_shape, preparation, class_names, left_out)
    pictures = reader.read(files, progress, processes=options.processes)
    if pictures.files:
        pictures = reader.without_conflicts(pictures, progress, drop=options.conflicts == "drop")
    left_out.finish()
    if not pictures.files:
        raise AaeError(f"none of the {len(files)} images in {raw_dir} can be read")
    labels = np.array([file.label for file in pictures.files], np.int64)
    _report_classes(class_names, labels, pictures, raw_dir, progress)
    held_out = {
        part: np.flatnonzero([file.part == part for file in pictures.files]) if part in given else None
        for part in ("validation", "test")
    }
    held_out_images = held_out["validation"], held_out["test"]
    return FolderImages(class_names, pictures.images, labels, *held_out_images, left_out.n_failed, preparation)


def _require_folder(raw_dir: Path) -> None:
    """Refuse what is no folder of images, but something else that `aae` knows."""
    if not raw_dir.is_dir():
        is_what = "a file; unpack it if it is an archive" if raw_dir.exists() else "absent"
        raise AaeError(f"{raw_dir} is not a directory but {is_what}; expected one sub-directory of images per class")
    held = what_is(raw_dir)
    if held == IDX_FILES and not holds_images(raw_dir):
        raise AaeError(f"{raw_dir} is {held}, not a folder of images; give --source mnist, fashion-mnist or kmnist")
    if not any(path.suffix in _OF_NO_IMAGES for path in raw_dir.iterdir()):
        return  # a folder of images may hold a manifest.json too
    if held == DATA_DIRECTORY:
        raise AaeError(f"{raw_dir} is {held}, ready for: aae train semi-supervised|unsupervised --data {raw_dir}")
    if held not in (None, FOLDER_OF_IMAGES):
        raise AaeError(f"{raw_dir} is {held}, not a folder of images; give the folder of the images")


def _with_range(options: FolderOptions, files: list[File], progress: Progress) -> Preparation:
    """Return the preparation with the range of the images, if it is to be found."""
    found = find_range(file.path for file in files) if options.auto_range else None
    if found is None:
        return options.preparation
    limits, n = found
    progress.say(f"{n} of {len(files)} images have more than 8 bits per channel; range {limits[0]}-{limits[1]}")
    return replace(options.preparation, range=limits)


def _sorted(layout: Layout, class_names: tuple[str, ...], walker: Walker) -> list[File]:
    """Return the files of a layout, held-out ones first and unlabelled ones last."""
    index = {name: label for label, name in enumerate(class_names)}
    folders: list[tuple[Path, int, Part]] = sorted(
        ((path, index[name], part) for part, name, path in layout.classes),
        key=lambda folder: (_READING_ORDER[folder[2]], folder[1]),
    )
    folders += [(path, UNLABELED, "train") for path in layout.unlabeled]
    files: list[File] = []
    read: dict[str, tuple[int, Part]] = {}  # by real path
    for folder, label, part in folders:
        found = []
        for path, real in walker.images(folder):
            # Decoded again, for the reader to name it: what contradicts an earlier label, or is held out too.
            if real in read and (label == UNLABELED or read[real] == (label, part)):
                walker.left_out.n_twice += 1
            else:
                read.setdefault(real, (label, part))
                found.append(path)
        files += [File(path, label, part) for path in sorted(found)]
    return files


def _listed(
    raw_dir: Path, file: Path, options: FolderOptions, left_out: LeftOut, progress: Progress
) -> tuple[tuple[str, ...], list[File]]:
    """Return class names and files of a list of labels, held-out ones first and unlabelled ones last."""
    labels, dropped = read_labels(
        file,
        raw_dir,
        left_out,
        follow_links=options.follow_links,
        drop_conflicts=options.conflicts == "drop",
        say=progress.say,
    )
    class_names = in_order(set(labels.values()) - {""}, options.earlier_names)
    index = {name: label for label, name in enumerate(class_names)} | {"": UNLABELED}
    parts = _listed_parts(raw_dir, labels, progress)
    files = [File(path, index[label], parts.get(path, "train")) for path, label in labels.items()]
    files.sort(key=lambda f: (f.label == UNLABELED, _READING_ORDER[f.part], f.label, f.path))
    named, others = {path.resolve() for path in labels} | {Path(real) for real in dropped}, LeftOut()
    for path, real in Walker(raw_dir, others, passed_over=file, all_kinds=True).images(raw_dir):
        if Path(real) not in named:
            left_out.add(UNLISTED, path, f"left out, since {file} does not name it")
    left_out.others.update(others.others)
    return class_names, files


def _listed_parts(raw_dir: Path, labels: dict[Path, str], progress: Progress) -> dict[Path, Part]:
    """Return the part of each labelled image of a list; nothing unless they lie in folders of several parts."""
    root = raw_dir.absolute()  # whose own folders may have such names, too
    whole = {path: path.absolute() for path, label in labels.items() if label}
    parts = {path: part_of(p.relative_to(root) if p.is_relative_to(root) else p) for path, p in whole.items()}
    given = {part: path.parent for path, part in parts.items() if part is not None}
    if len(given) < 2:
        return {}
    outside = next((path for path, part in parts.items() if part is None), None)
    if outside is not None or "train" not in given:
        lacking = f"not {outside}" if outside is not None else "none in train/"
        raise AaeError(
            f"images are listed in {' and '.join(sorted(map(str, given.values())))}, which read as given splits, but"
            f" {lacking}; sort all labelled images into train/, val/ and test/, or rename these folders"
        )
    progress.say(f"given splits are kept: {', '.join(sorted(map(str, given.values())))}")
    return {path: part for path, part in parts.items() if part is not None}


def _account_for_others(layout: Layout, walker: Walker) -> None:
    """Count images in folders that are left out, and those beside class folders."""
    for folder in layout.ignored:
        belongs = f"; images without a label belong into {UNLABELED_FOLDERS[0]}/ beside the class folders"
        advice = belongs if folder.name.casefold() in UNLABELED_FOLDERS else ""
        for path, _ in walker.images(folder):
            walker.left_out.add(
                IGNORED, path, f"left out, since the name {folder.name} begins with an underscore{advice}"
            )
    for folder in layout.loose:
        for path in walker.images_of(folder):
            walker.left_out.add(LOOSE, path, "left out, since it is in no class folder")


def _report_classes(
    class_names: tuple[str, ...], labels: NDArray[np.int64], pictures: Pictures, raw_dir: Path, progress: Progress
) -> None:
    """Report the classes; refuse those without a training image."""
    if not class_names:
        return
    counts = np.bincount(labels[labels != UNLABELED], minlength=len(class_names)).tolist()
    trained = {file.label for file in pictures.files if file.part == "train"}
    for label, name in enumerate(class_names):
        if label not in trained:
            raise AaeError(
                f"class {name!r} in {raw_dir} holds no images that can be read for training; add some or remove it"
            )
    unlabeled = int((labels == UNLABELED).sum())
    listed = ", ".join(f"{name} {n}" for name, n in zip(class_names, counts, strict=True))
    progress.say(f"{len(class_names)} classes: {listed}" + (f"; {unlabeled} without a label" if unlabeled else ""))
    if few := [name for name, n in zip(class_names, counts, strict=True) if n == 1]:
        progress.say(f"classes with one image, which only trains and is never scored: {', '.join(few)}")
    pairs = colour_alone(pictures.colours, labels, class_names) if len(pictures.colours) else []
    if pairs:
        more = f", and {len(pairs) - 1} more pairs of classes" if len(pairs) > 1 else ""
        progress.say(
            f"{pairs[0][0]} and {pairs[0][1]}{more} differ in colour, not in brightness, and --channels 1 discards"
            " colour; --channels 3 keeps it"
        )
