"""Images below a folder: links are followed inside of it, litter is passed over, all else is counted."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path

from aae_toolkit.data.formats import SUFFIXES, kind_of_file, unread
from aae_toolkit.data.left_out import OUTSIDE, UNREAD_FORMAT, UNREADABLE, LeftOut

# Names, in lower case, that operating systems leave in folders beside hidden ones.
_LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}
    | {"system volume information", "lost+found"}
)
FOLLOW = "follow it with --follow-links"


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left there by an operating system."""
    return name.startswith(".") or name.casefold() in _LITTER


class Walker:
    """Search for images below folders; a folder or file that links reach twice counts once.

    Attributes:
        left_out: account of what is not found.
    """

    def __init__(
        self,
        root: Path,
        left_out: LeftOut,
        *,
        suffixes: Container[str] = SUFFIXES,
        follow_links: bool = False,
        all_kinds: bool = False,
        passed_over: Path | None = None,
        aside: list[Path] | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            root: folder that links must not leave.
            left_out: account of what is left out.
            suffixes: suffixes, in lower case, of files that are taken unseen.
            follow_links: also follow links that leave `root`.
            all_kinds: also yield images of kinds that are not read, for their reader to report.
            passed_over: file that is neither found nor left out, such as a list of labels.
            aside: takes the folders whose name begins with an underscore, which are then not searched.
        """
        self.left_out = left_out
        self._root, self._suffixes, self._follow, self._all = root, suffixes, follow_links, all_kinds
        self._real_root = os.path.realpath(root)
        self._passed_over = passed_over and os.path.realpath(passed_over)
        self._aside = aside

    def images(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Yield the images below `folder` with their real paths: its files by name, then its folders' by name."""
        top = os.path.realpath(folder)
        visited, linked = {top}, set[str]()
        remaining = [(folder, top)]
        while remaining:
            directory, real_directory = remaining.pop()
            folders = []
            for entry in self._entries(directory):
                path, real = directory / entry.name, os.path.join(real_directory, entry.name)  # noqa: PTH118  (speed)
                reached = False  # under its own name instead
                if is_link := entry.is_symlink():
                    real = os.path.realpath(path)
                    reached = self._is_reached(real, top)
                    if not self._may_follow(path, real):
                        continue
                if entry.is_dir():
                    if self._aside is not None and entry.name.startswith("_"):
                        self._aside.append(path)
                    elif not (reached or real in visited or _is_within(top, real)):  # no link back up
                        visited.add(real)
                        folders.append((path, real))
                elif reached or real in linked:
                    self.left_out.n_twice += 1
                elif self._is_image(path, real):
                    linked |= {real} if is_link else set()
                    yield path, real
            remaining += reversed(folders)

    def images_of(self, folder: Path) -> Iterator[Path]:
        """Yield the images of a folder itself, without those of its folders."""
        for entry in self._entries(folder):
            path = folder / entry.name
            if entry.is_symlink() and not self._may_follow(path, os.path.realpath(path)):
                continue
            if entry.is_file() and self._is_image(path, entry.path):
                yield path

    def _entries(self, directory: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return sorted((e for e in entries if not is_litter(e.name)), key=lambda entry: entry.name)
        except OSError as error:
            self.left_out.add(UNREADABLE, directory, f"a folder that may not be read ({error.strerror})")
            return []

    def _is_reached(self, real: str, top: str) -> bool:
        """Whether a search below `top` finds the file `real` under its own name."""
        if not _is_within(real, top):
            return False
        *folders, name = Path(real[len(top) :]).parts[1:] or ("",)
        aside = self._aside is not None and any(folder.startswith("_") for folder in folders)
        return not (aside or any(map(is_litter, [*folders, name])))

    def _may_follow(self, path: Path, real: str) -> bool:
        """Whether a link leads to something that may be read; others are counted."""
        if not os.path.exists(real):  # noqa: PTH110
            if path.suffix.lower() in self._suffixes or not path.suffix:
                self.left_out.add(UNREADABLE, path, "a link to nothing")
            else:
                self.left_out.add_other(path)
            return False
        if self._follow or _is_within(real, self._real_root):
            return True
        self.left_out.add(OUTSIDE, path, f"a link that leads outside of {self._root}; {FOLLOW}")
        return False

    def _is_image(self, path: Path, real: str) -> bool:
        """Whether a file is an image that is to be read; others are counted."""
        if real == self._passed_over:
            return False
        if path.suffix.lower() in self._suffixes:
            return True
        try:
            kind = kind_of_file(path) if path.is_file() else None  # opening a pipe may block for ever
        except OSError as error:
            self.left_out.add(UNREADABLE, path, f"may not be read ({error.strerror})")
            return False
        if kind is None:
            self.left_out.add_other(path)
            return False
        reason = unread(kind)
        if reason is not None and not self._all:
            self.left_out.add(UNREAD_FORMAT, path, reason)
            return False
        return True


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
