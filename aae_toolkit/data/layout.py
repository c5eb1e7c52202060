"""Layout of a folder of images: class folders, alone or within train, validation and test folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aae_toolkit.data.class_names import reads_as_no_label, require_distinct
from aae_toolkit.data.formats import SUFFIXES, kind_of_file
from aae_toolkit.data.kinds import entries, holds_images
from aae_toolkit.data.walk import FOLLOW, is_litter
from aae_toolkit.errors import AaeError

Part = Literal["train", "validation", "test"]
UNLABELED_FOLDERS = ("_unlabeled", "_unlabelled")
_PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# A part of a data set within a longer name, such as seg_train, test_set, val2017 or TrainImages.
_LIKE_PART = re.compile(
    r"(?:^|[^a-z])(?:(?P<train>train|training|trn)|(?P<validation>val|valid|validation|dev|eval|evaluation)"
    r"|(?P<test>test|testing|tst|hold[-_ ]?out))[-_ ]?(?:set|data|images|imgs)?(?:[^a-z]|$)"
)

_LIKE_MASKS = re.compile(r"(.*[-_ ])?(masks?|annotations?|labels?|segmentations?|segs?|ground[-_ ]?truths?|gts?)")
_MOST_NAMED = 3  # classes in a message


@dataclass
class Layout:
    """Folders of images.

    Attributes:
        classes: folders with their part, and the name of their class.
        unlabeled: folders of images without a label.
        ignored: folders that are left out by their name.
        loose: folders whose own files belong to no class.
        given: folder of each part that is kept as it is; empty if the splits are to be drawn.
    """

    classes: list[tuple[Part, str, Path]] = field(default_factory=list)
    unlabeled: list[Path] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    given: dict[Part, Path] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Names of the classes."""
        return {name for _, name, _ in self.classes}


def find_layout(raw_dir: Path, *, follow_links: bool, say: Callable[[str], None]) -> Layout:
    """Find the class folders of `raw_dir`, and report where they are if not directly below it.

    Raises:
        AaeError: there are no class folders, or they can be misread.
    """
    layout = Layout()
    reader = _Reader(raw_dir, layout, follow_links)
    base, classes = raw_dir, reader.folders(raw_dir)
    while len(classes) == 1 and not has_images(base) and not has_images(classes[0]):
        inner = _Reader(raw_dir, Layout(), follow_links).folders(classes[0])
        if not inner:
            break
        base, classes = classes[0], reader.folders(classes[0])
    if base != raw_dir:
        say(f"class folders are those in {base}")
    parts = _parts(classes)
    if len(parts) > 1:
        reader.add_parts(base, parts, [path for path in classes if path not in parts.values()], say)
    else:
        if parts and len(classes) > 1:
            _refuse_one_part(base, parts)
        _refuse_names_like_parts(base, classes)
        nested = {path: reader.add_class(path, say) for path in classes}
        if len(set(nested.values())) > 1:
            with_parts, without = (next(path for path, is_so in nested.items() if is_so == wanted) for wanted in (1, 0))
            raise AaeError(f"{with_parts} has given splits, {without} has none; sort all classes so, or none")
        if not layout.given:
            _report_repeated(classes, say)
    _report_masks(layout, say)
    _require_classes(layout, raw_dir)
    return layout


class _Reader:
    def __init__(self, raw_dir: Path, layout: Layout, follow_links: bool) -> None:
        self._raw_dir, self._layout, self._follow = raw_dir, layout, follow_links

    def folders(self, folder: Path) -> list[Path]:
        """Return the folders of classes in a folder; others, by their name, go to the layout."""
        found = []
        for path in sorted(path for path in folder.iterdir() if not is_litter(path.name) and path.is_dir()):
            if path.is_symlink() and not self._follow and not path.resolve().is_relative_to(self._raw_dir.resolve()):
                raise AaeError(f"{path} is a link that leads outside of {self._raw_dir}; {FOLLOW}")
            if path.name.casefold() in UNLABELED_FOLDERS:
                self._layout.unlabeled.append(path)
            elif path.name.startswith("_"):
                self._layout.ignored.append(path)
            else:
                found.append(path)
        self._layout.loose.append(folder)
        return found

    def add_class(self, path: Path, say: Callable[[str], None]) -> bool:
        """Add a class folder; return whether there are folders of the parts in it."""
        inner = _folders_in(path)
        parts = _parts(inner)
        _refuse_names_like_parts(path, inner)
        if parts and (len(inner) > len(parts) or "train" not in parts or has_images(path)):
            raise AaeError(
                f"{path} has {_names(parts)}, but not all of its images are in train/, val/ and test/; sort all of them"
                " into such folders, or none"
            )
        if len(parts) < 2:
            self._layout.classes.append(("train", path.name, path))
            return False
        if not self._layout.given:
            say(f"given splits are kept: {_names(parts)} in each class folder")
        self._layout.classes += [(part, path.name, folder) for part, folder in parts.items()]
        self._layout.given |= parts
        return True

    def add_parts(self, base: Path, parts: dict[Part, Path], others: list[Path], say: Callable[[str], None]) -> None:
        """Add the class folders within the folders of the parts."""
        if others:
            raise AaeError(
                f"{base} has {_names(parts)} beside {others[0].name}/; give the splits alone, in which images"
                f" without a label are in {UNLABELED_FOLDERS[0]}/, or class folders alone"
            )
        if "train" not in parts:
            raise AaeError(f"{base} has {_names(parts)} but no train/; add it, or rename them if they are classes")
        for part, folder in parts.items():
            classes = self.folders(folder)
            if not classes and (part != "train" or has_images(folder)):
                raise AaeError(
                    f"{folder} holds no class folders; sort its images into {folder.name}/<class>/, or list all with"
                    f" --labels-csv; images without a label belong into {base / UNLABELED_FOLDERS[0]}/"
                )
            self._layout.classes += [(part, path.name, path) for path in classes]
        self._layout.given = parts
        say(f"given splits are kept: {_names(parts)} in {base}")
        trained = {name for part, name, _ in self._layout.classes if part == "train"}
        require_distinct(self._layout.names, str(base))  # "Cat" and "cat" are named as twins, not as unknown
        for _, name, path in self._layout.classes:
            if trained and name not in trained:
                raise AaeError(f"{path}: no class {name!r} in {parts['train']}; a class needs training images")


def _parts(folders: list[Path]) -> dict[Part, Path]:
    """Return the folders that are named like parts of a data set.

    Raises:
        AaeError: two of them are for the same part.
    """
    parts: dict[Part, Path] = {}
    for path in folders:
        part = _PARTS.get(path.name.casefold())
        if part is not None and parts.setdefault(part, path) != path:
            raise AaeError(f"{parts[part]} and {path} both read as {part} images; join them or rename one")
    return parts


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a class folder, without those that are left out by their name."""
    with os.scandir(folder) as entries:  # a folder may hold many files, which pathlib would all ask for their kind
        names = [e.name for e in entries if e.is_dir() and not is_litter(e.name) and not e.name.startswith("_")]
    return [folder / name for name in sorted(names)]


def _refuse_names_like_parts(base: Path, folders: list[Path]) -> None:
    """Refuse folders whose names hold two different parts, if they are not exactly those of parts."""
    like: dict[str, Path] = {}
    for path in folders:
        if found := _LIKE_PART.search(path.name.casefold()):
            like.setdefault(str(found.lastgroup), path)
    if len(like) > 1 and len(_parts(folders)) < 2:
        names = " and ".join(sorted(f"{path.name}/" for path in like.values()))
        raise AaeError(
            f"{base} has {names}, which read as given splits; rename them to train/, val/ and test/, or, if they are"
            " classes, to other names"
        )


def _report_repeated(classes: list[Path], say: Callable[[str], None]) -> None:
    """Report folders of one name in several class folders: they may be the classes."""
    inner = {path: [folder.name for folder in _folders_in(path)] for path in classes}
    repeated = Counter(name for names in inner.values() for name in names)
    if repeated and max(repeated.values()) > 1:
        name = max(repeated, key=lambda name: repeated[name])
        first, second, *_ = (path.name for path, names in inner.items() if name in names)
        say(
            f"{first}/{name} and {second}/{name} are read as images of {first} and of {second}; if {name} is a class,"
            " sort the images into one folder for each class"
        )


def _report_masks(layout: Layout, say: Callable[[str], None]) -> None:
    """Report a class that is named like masks or annotations of the images of another one."""
    for _, name, path in layout.classes:
        others = [other for other in layout.names if other != name]
        if _LIKE_MASKS.fullmatch(name.casefold()) and others:
            say(
                f"{path}/ is taken for a class {name!r} beside {', '.join(sorted(others)[:_MOST_NAMED])}; if it holds"
                f" masks of their images, rename it to _{name}/, which is left out"
            )


def _refuse_one_part(base: Path, parts: dict[Part, Path]) -> None:
    """Refuse a single folder named like a part, if it holds class folders rather than images of a class."""
    [(part, path)] = parts.items()
    if not has_images(path) and any(inner.is_dir() and not is_litter(inner.name) for inner in path.iterdir()):
        raise AaeError(
            f"{path} reads as {part} images, beside other folders of {base}; give the splits as train/, val/ and test/"
            " alone, or rename it if it is a class"
        )


def part_of(path: Path) -> Part | None:
    """Return the part of a data set that a folder of `path`, relative to all images, is named like."""
    return next((_PARTS[name.casefold()] for name in path.parts[:-1] if name.casefold() in _PARTS), None)


def _names(parts: dict[Part, Path]) -> str:
    order: tuple[Part, ...] = ("train", "validation", "test")
    return ", ".join(f"{parts[part].name}/" for part in order if part in parts)


def _require_classes(layout: Layout, raw_dir: Path) -> None:
    """Refuse what is no set of classes, with what would be right."""
    if not layout.classes and has_images(raw_dir):
        unlabeled = raw_dir / UNLABELED_FOLDERS[0]
        siblings = sum(map(holds_images, filter(Path.is_dir, entries(raw_dir.absolute().parent))))
        a_class = f"; if {raw_dir.name} is a class, pass {raw_dir.parent}" if siblings > 1 else ""
        raise AaeError(
            f"{raw_dir} holds images but no class folders, so their classes are unknown{a_class}; sort them into"
            f" {raw_dir}/<class>/, or list their classes: --labels-csv FILE with the columns path,label; to train"
            f" without labels, move them: mkdir {unlabeled} && mv {raw_dir}/*.* {unlabeled}/"
        )
    require_distinct(layout.names, str(raw_dir))
    for _, name, path in layout.classes:
        if reads_as_no_label(name):
            raise AaeError(
                f"{path}: a class, or images without a label? rename it to {UNLABELED_FOLDERS[0]}/ for these"
            )
    require_two_classes(layout.names, str(raw_dir))


def require_two_classes(names: set[str], place: str) -> None:
    """Refuse a single class.

    Raises:
        AaeError: there is nothing to tell apart.
    """
    if len(names) == 1:
        raise AaeError(
            f"{place} has a single class, {min(names)!r}, and a classifier needs two; for training without labels, name"
            f" the folder {UNLABELED_FOLDERS[0]}/, or leave the labels empty"
        )


def has_images(folder: Path) -> bool:
    """Whether a folder itself holds an image, of a kind that is read or not."""
    with os.scandir(folder) as entries:
        files = [Path(entry.path) for entry in entries if not is_litter(entry.name) and entry.is_file()]
    if any(path.suffix.lower() in SUFFIXES for path in files):
        return True
    try:
        return any(kind_of_file(path) is not None for path in files)
    except OSError:
        return False
